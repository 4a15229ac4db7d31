"""Where the slots of a machine run, and what each of them gets: a GPU, cores, memory, an environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from store.settings import Settings
from worker.gpu import Gpu

SECRETS = {"api_key", "database_url"}  # no part of a worker's business
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Place:
    """Where a slot runs: on one GPU, or (without) on a share of the cores."""

    label: str
    threads: int
    memory: int = 0  # bytes of the host's: what a trial may count on,
    is_limited: bool = False  # and whether it is also all that it may use
    gpu: Gpu | None = None
    gpu_share: float = 1.0  # of the GPU's memory

    @property
    def device(self) -> str:
        return f"{self.gpu.name} {self.gpu.uuid}" if self.gpu else "cpu"

    @property
    def options(self) -> list[str]:
        """What the slot's process is told of it."""
        options = ["--device", self.device, "--memory", str(self.memory)]
        if self.is_limited:
            options.append("--limit-memory")
        if self.gpu is not None:
            options += ["--gpu", self.gpu.uuid, "--gpu-share", f"{self.gpu_share:.6g}"]
        return options


def places_for(
    gpus: Sequence[Gpu], cpu_slots: int, slots_per_gpu: int, memory_per_slot: int | None = None
) -> list[Place]:
    """A place for each slot; the cores are shared out evenly, and each GPU among its slots."""
    count = len(gpus) * slots_per_gpu + cpu_slots
    threads = max(1, cores() // max(1, count))
    memory = memory_per_slot or memory_bytes() // max(1, count)
    place = partial(Place, threads=threads, memory=memory, is_limited=memory_per_slot is not None)
    on_gpus = [place(gpu.label, gpu=gpu, gpu_share=1 / slots_per_gpu) for gpu in gpus for _ in range(slots_per_gpu)]
    return on_gpus + [place(f"cpu{index}") for index in range(cpu_slots)]


def cores() -> int:
    """The cores that this process may use; a container's share is less than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes(limits: Sequence[Path] = _CGROUP_LIMITS) -> int:
    """The memory that this process may use; a container's share is less than the machine's."""
    total = int(psutil.virtual_memory().total)
    for limit in limits:
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):  # not this kind of cgroup, or "max"
            continue
    return total


def environment_of(settings: Settings, place: Place) -> dict[str, str]:
    """What a slot and its runner see: the settings as they are here, their GPU alone, their share of the cores."""
    ours = settings.model_dump(mode="json", exclude=SECRETS, exclude_none=True)
    kept: Mapping[str, str] = {key: value for key, value in os.environ.items() if not key.startswith("TRIALYARD_")}
    threads = str(place.threads)
    return {
        **kept,
        **{f"TRIALYARD_{name.upper()}": str(value) for name, value in ours.items()},
        "CUDA_VISIBLE_DEVICES": place.gpu.uuid if place.gpu else "",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")])),
    }
