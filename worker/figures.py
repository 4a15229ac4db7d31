"""What a slot measures of itself and of its machine, for people who look at the pool."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import structlog

from worker.gpu import open_nvml
from worker.memory import memory_below

log = structlog.get_logger(__name__)


class Figures:
    """Called for each sign of life. A figure that cannot be had is left out."""

    def __init__(self, runner: Callable[[], int], gpu: str = "") -> None:
        """
        Args:
            runner: the process id of the slot's runner; 0 if there is none.
            gpu: the UUID of the slot's GPU; "" for none.
        """
        self._runner = runner
        self._nvml = open_nvml() if gpu else None
        self._handle = _handle(self._nvml, gpu) if self._nvml else None

    def __call__(self) -> dict[str, str]:
        """
        Returns:
            `memory_used` (bytes of the host's, by the runner and all below it), `load` (of the machine, over a minute,
            as a share of its cores), and for a GPU `gpu_use` (share of time), `gpu_memory_used` and `gpu_memory`
            (bytes), `gpu_temperature` (°C) and `gpu_power` (W): those of the whole GPU, also where slots share it.
        """
        figures = {"load": f"{os.getloadavg()[0] / (os.cpu_count() or 1):.2f}"}
        if runner := self._runner():
            figures["memory_used"] = str(memory_below(runner))
        if self._nvml is not None and self._handle is not None:
            figures |= _gpu_figures(self._nvml, self._handle)
        return figures


def _handle(nvml: ModuleType, uuid: str) -> Any:
    try:
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError as error:
        log.warning("no figures of the GPU", gpu=uuid, error=str(error))
        return None


def _gpu_figures(nvml: ModuleType, handle: Any) -> dict[str, str]:
    """Each by itself: a MIG slice has no power, and not every board has every sensor."""
    read: dict[str, Callable[[], str]] = {
        "gpu_use": lambda: f"{nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100:.2f}",
        "gpu_memory_used": lambda: str(nvml.nvmlDeviceGetMemoryInfo(handle).used),
        "gpu_memory": lambda: str(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        "gpu_temperature": lambda: str(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        "gpu_power": lambda: f"{nvml.nvmlDeviceGetPowerUsage(handle) / 1000:.0f}",  # of milliwatts
    }
    figures = {}
    for name, figure in read.items():
        try:
            figures[name] = figure()
        except nvml.NVMLError:
            continue
    return figures
