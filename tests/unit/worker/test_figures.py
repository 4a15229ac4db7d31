"""What a slot measures, of this machine and of a GPU behind a driver that is made up."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from worker import figures
from worker.figures import Figures


class NVMLError(Exception):
    pass


def driver(power: int | None) -> SimpleNamespace:
    """A driver of one GPU. Without `power` it is a MIG slice, which has no sensor of it."""

    def power_usage(_handle: object) -> int:
        if power is None:
            raise NVMLError("not supported")
        return power

    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=87, memory=20),
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=12 * 2**30, total=80 * 2**30),
        nvmlDeviceGetTemperature=lambda _, _sensor: 64,
        nvmlDeviceGetPowerUsage=power_usage,
    )


def test_a_slot_on_the_cores_measures_its_runner_and_the_load() -> None:
    found = Figures(os.getpid)()

    assert set(found) == {"load", "memory_used"}
    assert int(found["memory_used"]) > 10 * 2**20  # this very process, with Python and its libraries
    assert set(Figures(lambda: 0)()) == {"load"}  # between two runners


def test_a_gpus_figures_are_shares_bytes_degrees_and_watts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "open_nvml", lambda: driver(power=310_400))

    found = Figures(lambda: 0, gpus=["GPU-1"])()

    assert found.pop("load")
    assert found == {
        "gpu_use": "0.87",
        "gpu_memory_used": str(12 * 2**30),
        "gpu_memory": str(80 * 2**30),
        "gpu_temperature": "64",
        "gpu_power": "310",
    }


def test_a_sensor_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "open_nvml", lambda: driver(power=None))

    assert "gpu_power" not in Figures(lambda: 0, gpus=["MIG-1"])()
