"""What a slot measures of itself and of its machine, for people who look at the pool."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from statistics import fmean
from types import ModuleType
from typing import Any

import structlog

from worker.gpu import open_nvml
from worker.memory import memory_below

log = structlog.get_logger(__name__)


class Figures:
    """Called for each sign of life. A figure that cannot be had is left out."""

    def __init__(self, runner: Callable[[], int], gpus: Sequence[str] = ()) -> None:
        """
        Args:
            runner: the process id of the slot's runner; 0 if there is none.
            gpus: the UUIDs of the slot's GPUs.
        """
        self._runner = runner
        self._nvml = open_nvml() if gpus else None
        self._handles = _handles(self._nvml, gpus) if self._nvml else []

    def __call__(self) -> dict[str, str]:
        """
        Returns:
            `memory_used` (bytes of the host's, by the runner and all below it), `load` (of the machine, over a minute,
            as a share of its cores), and for a GPU `gpu_use` (share of time), `gpu_memory_used` and `gpu_memory`
            (bytes), `gpu_temperature` (°C) and `gpu_power` (W): those of the whole GPU, also where slots share it. Of
            several GPUs the mean use, the highest temperature, and the sum of the others.
        """
        figures = {"load": f"{os.getloadavg()[0] / (os.cpu_count() or 1):.2f}"}
        if runner := self._runner():
            figures["memory_used"] = str(memory_below(runner))
        if self._nvml is not None and self._handles:
            figures |= _gpu_figures(self._nvml, self._handles)
        return figures


def _handles(nvml: ModuleType, uuids: Sequence[str]) -> list[Any]:
    """None, if one of them cannot be had."""
    try:
        return [nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
    except nvml.NVMLError as error:
        log.warning("no figures of the GPU", gpus=list(uuids), error=str(error))
        return []


def _gpu_figures(nvml: ModuleType, handles: Sequence[Any]) -> dict[str, str]:
    """Each by itself: a MIG slice has no power, and not every board has every sensor."""
    read: dict[str, Callable[[], str]] = {
        "gpu_use": lambda: f"{fmean(nvml.nvmlDeviceGetUtilizationRates(each).gpu for each in handles) / 100:.2f}",
        "gpu_memory_used": lambda: str(sum(nvml.nvmlDeviceGetMemoryInfo(each).used for each in handles)),
        "gpu_memory": lambda: str(sum(nvml.nvmlDeviceGetMemoryInfo(each).total for each in handles)),
        "gpu_temperature": lambda: str(
            max(nvml.nvmlDeviceGetTemperature(each, nvml.NVML_TEMPERATURE_GPU) for each in handles)
        ),
        "gpu_power": lambda: f"{sum(nvml.nvmlDeviceGetPowerUsage(each) for each in handles) / 1000:.0f}",  # milliwatts
    }
    figures = {}
    for name, figure in read.items():
        try:
            figures[name] = figure()
        except nvml.NVMLError:
            continue
    return figures
