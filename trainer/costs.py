"""What a training costs: how large its model is, and how much time and memory it took."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainer.compress import LATENCY_ROWS, latency, nonzero, size_in_bytes
from trainer.config import Model
from trainer.data.prepared import AnySchema, Prepared
from trainer.models.build import build
from trainer.models.layers import Network


class Size(NamedTuple):
    """Of a model: its numbers that are learned, and the floating-point operations of one row's forward pass. An
    addition and a multiplication are two; only matrix products, convolutions and attention are counted.
    """

    params: int
    flops: int


def size_of(config: Model, schema: AnySchema, inputs: Sequence[Tensor]) -> Size:
    """The size of the model that fits a schema; built, and shown a row, on the meta device, where that costs nothing.

    Args:
        inputs: of a part; the first row is enough.

    Raises:
        ModelError: there is no such model.
    """
    with torch.device("meta"):
        return size_of_model(build(config, schema), [tensor[:1].to("meta") for tensor in inputs])


def size_of_model(model: Network, row: Sequence[Tensor]) -> Size:
    """The size of a model that is there, which is shown a row."""
    model.eval()
    # Of attention only what is made of matrix products is counted on every device, and not each one's own kernel.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*row)
    return Size(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops())


class Costs:
    """The costs of one training, counted from here on."""

    def __init__(self, prepared: Prepared) -> None:
        self.seconds = 0.0  # spent on epochs, those of earlier attempts included
        self._prepared = prepared
        self._size = Size(0, 0)
        self._measured: dict[str, float] = {}
        self._device = prepared.device
        _forget_peak(self._device)

    def metrics(self) -> dict[str, float]:
        """`params`, `flops`, `seconds`, and `device_memory`: the most bytes that were held on the GPU or, without
        one, in this process's part of the main memory.
        """
        memory = _peak(self._device)
        return {**self._size._asdict(), "seconds": self.seconds, "device_memory": memory, **self._measured}

    def resize(self, model: Network) -> None:
        """Go on with this model."""
        self._size = size_of_model(model, self._prepared.train.first(1))

    def measure(self, model: Network) -> None:
        """Take in what a model that is compressed takes now: `nonzero` parameters, `bytes`, and its `latency`."""
        self._measured = {
            "nonzero": nonzero(model),
            "bytes": size_in_bytes(model),
            "latency": latency(model, self._prepared.train.first(LATENCY_ROWS)),
        }


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or not allowed: the peak is then the process's from its start
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
