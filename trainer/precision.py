"""The precision that a training computes in. Weights, optimizer and validation stay in single precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import autocast
from torch.amp.grad_scaler import GradScaler

PrecisionName = Literal["auto", "fp32", "tf32", "bf16", "fp16"]

WIDE = 256  # of a layer narrower than that a processor has no gain: bringing the numbers to bf16 takes as long


class Precision:
    """How the forward and backward passes of one training compute.

    `bf16` and `fp16` are mixed precision (Micikevicius et al. 2018): products in 16 bits, sums and weights in 32; fp16
    multiplies the loss by a scale that keeps small gradients from vanishing, and leaves out steps in which it was too
    large. `tf32` rounds the factors of products, on GPUs only. `auto` is bf16 where the device computes in it and the
    model gains: on a GPU always, on a processor with convolutions or wide layers; else fp32.
    """

    def __init__(self, name: PrecisionName, model: nn.Module, device: torch.device) -> None:
        self.name = _chosen(model, device) if name == "auto" else name
        self._device = device.type
        self._scaler = GradScaler(device.type) if self.name == "fp16" else None

    def forward(self) -> AbstractContextManager[object]:
        """Within, a model computes its outputs."""
        if self.name in ("bf16", "fp16"):
            return autocast(self._device, torch.bfloat16 if self.name == "bf16" else torch.float16)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        (self._scaler.scale(loss) if self._scaler else loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Give the gradients their size, before penalties join them and they are clipped."""
        if self._scaler:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        if self._scaler:
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            optimizer.step()

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Within, products round as told. PyTorch has this setting for the process, and gets it back as it was."""
        if self.name != "tf32" or self._device != "cuda":
            yield
            return
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
        before = products.fp32_precision, convolutions.fp32_precision
        products.fp32_precision = convolutions.fp32_precision = "tf32"
        try:
            yield
        finally:
            products.fp32_precision, convolutions.fp32_precision = before

    def state(self) -> dict[str, float]:
        """What a checkpoint has to keep."""
        return dict(self._scaler.state_dict()) if self._scaler else {}

    def restore(self, state: dict[str, float]) -> None:
        if self._scaler:
            self._scaler.load_state_dict(state)


def _chosen(model: nn.Module, device: torch.device) -> Literal["bf16", "fp32"]:
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Where the processor has no such instructions, PyTorch computes bf16 by way of fp32, and is slower.
    fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast and any(map(_gains, model.modules())) else "fp32"


def _gains(module: nn.Module) -> bool:
    wide = isinstance(module, nn.Linear) and min(module.weight.shape) >= WIDE
    return wide or isinstance(module, nn.Conv2d)
