"""Where a slot of a machine runs, and what it gets: GPUs, cores, memory, an environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from store.settings import Settings
from worker.gpu import Gpu
from worker.machine_memory import memory_bytes
from worker.mps import VARIABLE, mps_folder

MOST_ON_GPU = 8  # slots, where their number is found out
MOST_ON_CORE = 2

SECRETS = {"api_key", "database_url", "worker_redis_url"}  # no part of a worker's business

# What glibc's allocator gives back after a step of a training it asks for again in the next one, and the kernel fills
# it with zeros page by page: up to a fifth of a small CNN's time. So many bytes stay with the process instead.
HEAP = {"MALLOC_TRIM_THRESHOLD_": str(256 << 20), "MALLOC_MMAP_THRESHOLD_": str(64 << 20)}


@dataclass(frozen=True)
class Place:
    """Where a slot runs: on one GPU or a group of them, or (without) on a share of the cores."""

    label: str
    threads: int
    memory: int = 0  # bytes of the host's: what a trial may count on,
    is_limited: bool = False  # and whether it is also all that it may use
    gpus: tuple[Gpu, ...] = ()
    gpu_share: float = 1.0  # of the GPU's memory
    crowd: str = ""  # the device, if it is found out how many slots it should have

    @property
    def device(self) -> str:
        if not self.gpus:
            return "cpu"
        count = f"{len(self.gpus)} x " if len(self.gpus) > 1 else ""
        return f"{count}{self.gpus[0].name} {self.uuids}"

    @property
    def uuids(self) -> str:
        """As CUDA_VISIBLE_DEVICES wants them."""
        return ",".join(gpu.uuid for gpu in self.gpus)

    @property
    def options(self) -> list[str]:
        """What the slot's process is told of it."""
        options = ["--device", self.device, "--memory", str(self.memory)]
        if self.is_limited:
            options.append("--limit-memory")
        if self.gpus:
            options += ["--gpus", self.uuids, "--gpu-share", f"{self.gpu_share:.6g}"]
        if self.crowd:
            options += ["--crowd", self.crowd]
        return options


def most_slots(place: Place) -> int:
    """How many slots a place may come to have whose number is found out."""
    by_device = MOST_ON_GPU if place.gpus else MOST_ON_CORE * cores()
    return max(1, min(by_device, memory_bytes() // place.memory))


def cores() -> int:
    """The cores that this process may use; a container's share is less than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment_of(settings: Settings, place: Place) -> dict[str, str]:
    """What a slot and its runner see: the settings as they are here, their GPU alone, their share of the cores, and
    a heap that stays.
    """
    ours = settings.model_dump(mode="json", exclude=SECRETS, exclude_none=True)
    kept: Mapping[str, str] = {key: value for key, value in os.environ.items() if not key.startswith("TRIALYARD_")}
    threads = str(place.threads)
    return {
        **HEAP,
        **kept,
        **{f"TRIALYARD_{name.upper()}": str(value) for name, value in ours.items()},
        **({VARIABLE: str(folder)} if place.gpus and (folder := mps_folder(kept)) else {}),
        "CUDA_VISIBLE_DEVICES": place.uuids,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")])),
    }
