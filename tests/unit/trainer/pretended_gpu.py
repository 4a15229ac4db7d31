"""A GPU that is none: tensors that say they lie on it, which no operation takes together with the processor's.

It computes on the processor, and with its random numbers, so that a training comes to the same figures as there. What a
GPU has of its own (its kernels, its memory, mixed precision) it does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Self

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("pretended")

GPU = torch.device("pretended", 0)
_MOVES = {"aten::copy_", "aten::_to_copy"}
_INDEXED = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}  # by indices of the processor's, too


@contextmanager
def pretended_gpu(patch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Within, the device may be used as any other."""
    tensor = torch.tensor
    with patch.context() as patched, _Everywhere():
        patched.setattr(torch, "Generator", _Generator)
        patched.setattr(torch, "inference_mode", torch.no_grad)  # whose tensors cannot be wrapped
        # It would ask the device's own kernels, past everything that can be pretended.
        patched.setattr(torch, "tensor", lambda data, device=None, **rest: tensor(data, **rest).to(device or "cpu"))
        yield GPU


class _OnGpu(Tensor):
    """A tensor of the processor's that says it lies elsewhere."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[_OnGpu], held: Tensor) -> _OnGpu:
        made: _OnGpu = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=GPU
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls,
        operation: Any,
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        return _done(operation, arguments, named or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> NoReturn:  # noqa: ARG002 - PyTorch's signature
        raise TypeError("NumPy has no arrays on a GPU")

    __array__ = numpy  # type: ignore[assignment]


class _Everywhere(TorchDispatchMode):
    """Sees what makes tensors out of none, as well."""

    def __torch_dispatch__(
        self,
        operation: Any,
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        return _done(operation, arguments, named or {})


class _Generator(torch.Generator):
    """The processor's, under the name of any device."""

    def __new__(cls, device: torch.device | str = "cpu") -> Self:  # noqa: ARG004
        return super().__new__(cls)

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        return self._device


def _done(operation: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Raises: RuntimeError: some tensors lie on the GPU and others do not."""
    tensors = [each for each in tree_leaves((arguments, named)) if isinstance(each, Tensor)]
    if any(isinstance(each, FakeTensor) for each in tensors):  # of whoever counts operations
        return operation(*arguments, **named)
    ours = [each for each in tensors if isinstance(each, _OnGpu)]
    name = operation._schema.name
    _check(name, arguments, tensors, ours)
    device = named.get("device")
    goes_out = _is_ours(device) if device is not None else bool(ours)
    if name == "aten::copy_":
        goes_out = isinstance(arguments[0], _OnGpu)
    if device is not None:
        named = {**named, "device": torch.device("cpu")}
    known = {id(each.held): each for each in ours}
    found = operation(*tree_map(_held, arguments), **tree_map(_held, named))
    return tree_map(_wrapped(known) if goes_out else _held, found)


def _check(name: str, arguments: Sequence[Any], tensors: Sequence[Tensor], ours: Sequence[_OnGpu]) -> None:
    others = [each for each in tensors if not isinstance(each, _OnGpu) and each.dim()]
    if not ours or not others or name in _MOVES:
        return
    if name not in _INDEXED or not isinstance(arguments[0], _OnGpu):
        devices = ", ".join(f"{tuple(each.shape)} on {each.device}" for each in tensors)
        raise RuntimeError(f"{name} got tensors on two devices: {devices}")


def _is_ours(device: Any) -> bool:
    return torch.device(device).type == GPU.type


def _held(each: Any) -> Any:
    return each.held if isinstance(each, _OnGpu) else each


def _wrapped(known: Mapping[int, _OnGpu]) -> Callable[[Any], Any]:
    """What is ours already, as after an operation in place, stays the same tensor."""

    def wrap(each: Any) -> Any:
        if not isinstance(each, Tensor):
            return each
        return known[id(each)] if id(each) in known else _OnGpu(each)

    return wrap
