"""Which GPUs this machine has, by the names that CUDA_VISIBLE_DEVICES understands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from store.errors import SettingsError


@dataclass(frozen=True)
class Gpu:
    """One GPU. The UUID means the same device to every process; an index depends on what a process may see."""

    index: int
    uuid: str
    name: str

    @property
    def label(self) -> str:
        return self.uuid.removeprefix("GPU-")[:8]


def list_gpus() -> list[Gpu]:
    """Every GPU that the driver knows; none without a driver."""
    nvml = open_nvml()
    if nvml is None:
        return []
    try:
        return [_describe(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    finally:
        nvml.nvmlShutdown()


def open_nvml() -> ModuleType | None:
    """The driver's library, initialized; None without a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    library: ModuleType = pynvml
    return library


def choose(gpus: Sequence[Gpu], selection: str) -> list[Gpu]:
    """Those that an operator named: "all", "none", or indices such as "0,2".

    Raises:
        SettingsError: the selection is none of these, or names a GPU that is not there.
    """
    if selection == "all":
        return list(gpus)
    if selection == "none":
        return []
    by_index = {str(gpu.index): gpu for gpu in gpus}
    named = list(dict.fromkeys(part.strip() for part in selection.split(",")))
    unknown = [name for name in named if name not in by_index]
    if unknown:
        there = f"this machine has {', '.join(by_index)}" if by_index else "this machine has none"
        raise SettingsError(f"--gpus {selection}: there is no GPU {unknown[0]!r}; {there}. Or use all, or none")
    return [by_index[name] for name in named]


def _describe(nvml: ModuleType, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
    return Gpu(index, uuid, name)
