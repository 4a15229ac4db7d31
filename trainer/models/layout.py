"""What a model consists of, for people: its layers with their shapes, parameters and operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.config import Model
from trainer.data.prepared import AnySchema
from trainer.models.build import build


class Layer(NamedTuple):
    """A module that computes or learns something by itself. `shape` is that of one row's output; None if it has none,
    being read rather than called.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    params: int
    flops: int


def layers_of(config: Model, schema: AnySchema, inputs: Sequence[Tensor]) -> list[Layer]:
    """The layers in the order of the model, built on the meta device.

    Args:
        inputs: of a part; the first row is enough.

    Raises:
        ModelError: there is no such model.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        model = build(config, schema).eval()
        for name, module in model.named_modules():
            module.register_forward_hook(
                lambda _m, _i, output, name=name: shapes.update({name: tuple(output.shape[1:])})
            )
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(*(tensor[:1].to("meta") for tensor in inputs))
    flops = {name.partition(".")[2]: sum(of.values()) for name, of in counter.get_flop_counts().items()}
    return list(_walk("", model, shapes, flops))


def _walk(name: str, module: nn.Module, shapes: dict[str, tuple[int, ...]], flops: dict[str, int]) -> Iterator[Layer]:
    """The module, if it does something beside what its children do, and these."""
    children = {f"{name}.{child}".lstrip("."): each for child, each in module.named_children()}
    own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    alone = flops[name] - sum(_all_flops(*child, flops) for child in children.items()) if flops.get(name) else 0
    if name and not isinstance(module, nn.Identity) and (own or alone or not children):
        yield Layer(name, type(module).__name__, shapes.get(name), own, alone)
    for child, each in children.items():
        yield from _walk(child, each, shapes, flops)


def _all_flops(name: str, module: nn.Module, flops: dict[str, int]) -> int:
    """Of a list of modules, which is never called itself, what its members do."""
    if name in flops:
        return flops[name]
    return sum(_all_flops(f"{name}.{child}", each, flops) for child, each in module.named_children())
