"""Where the slots of a machine run, and what each of them gets: GPUs, cores, memory, an environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import psutil

from search.sections import MOST_RANKS
from store.errors import SettingsError
from store.settings import Settings
from worker.gpu import Gpu
from worker.mps import VARIABLE, mps_folder

MOST_ON_GPU = 8  # slots, where their number is found out
MOST_ON_CORE = 2

Slots = int | Literal["auto"]

SECRETS = {"api_key", "database_url", "worker_redis_url"}  # no part of a worker's business
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

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


def places_for(
    gpus: Sequence[Gpu],
    cpu_slots: Slots,
    slots_per_gpu: Slots,
    memory_per_slot: int | None = None,
    group_sizes: Sequence[int] = (1,),
) -> list[Place]:
    """A place for each slot; the cores are shared out evenly, and each GPU among its slots. Where the number of slots
    is to be found out ("auto"), the place of the first one, which all others are like.

    Raises:
        SettingsError: there are too few GPUs for the groups, or slots would share those of a group.
    """
    groups = group(gpus, group_sizes) if gpus else []
    if slots_per_gpu not in ("auto", 1) and any(len(each) > 1 for each in groups):
        raise SettingsError(
            "--slots-per-gpu: a group's trial has its GPUs for itself; leave it out, or --gpus-per-trial"
        )
    count = len(groups) * _most(slots_per_gpu, MOST_ON_GPU) + _most(cpu_slots, MOST_ON_CORE * cores())
    threads = max(1, cores() // max(1, count))
    memory = memory_per_slot or memory_bytes() // max(1, count)
    place = partial(Place, threads=threads, memory=memory, is_limited=memory_per_slot is not None)
    places = []
    for each in groups:
        if slots_per_gpu == "auto":
            places.append(place(_label(each), gpus=each, crowd=_label(each) if len(each) == 1 else ""))
        else:
            places += [place(_label(each), gpus=each, gpu_share=1 / slots_per_gpu)] * slots_per_gpu
    if cpu_slots == "auto":
        return [*places, place("cpu", crowd="cpu")]
    return places + [place(f"cpu{index}") for index in range(cpu_slots)]


def most_slots(place: Place) -> int:
    """How many slots a place may come to have whose number is found out."""
    by_device = MOST_ON_GPU if place.gpus else MOST_ON_CORE * cores()
    return max(1, min(by_device, memory_bytes() // place.memory))


def read_slots(option: str, text: str) -> Slots:
    """Of an operator's words: a number, or "auto".

    Raises:
        SettingsError: it is neither.
    """
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise SettingsError(f"{option} {text}: it must be a number, or auto to find it out")
    return int(text)


def group(gpus: Sequence[Gpu], sizes: Sequence[int]) -> list[tuple[Gpu, ...]]:
    """The GPUs in groups, each of which serves one trial at a time. One size is that of all groups, and what is left
    over serves singly; several sizes are those of the groups one after another.

    Raises:
        SettingsError: there are too few GPUs for that.
    """
    wanted = list(sizes) if len(sizes) > 1 else list(sizes) * (len(gpus) // sizes[0])
    if sum(wanted) > len(gpus) or not wanted:
        text = ",".join(map(str, sizes))
        raise SettingsError(f"--gpus-per-trial {text}: it takes {sum(sizes)} GPUs, and {len(gpus)} are served")
    wanted += [1] * (len(gpus) - sum(wanted))
    left = iter(gpus)
    return [tuple(islice(left, size)) for size in wanted]


def read_group_sizes(text: str) -> list[int]:
    """Of an operator's words: "2" for groups of two, "4,2,2" for one of four and two of two.

    Raises:
        SettingsError: they are no such numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= MOST_RANKS for part in parts):
        hint = "a number of GPUs such as 2, or one for each group as in 4,2,2"
        raise SettingsError(f"--gpus-per-trial {text}: it must be {hint}, each from 1 to {MOST_RANKS}")
    return [int(part) for part in parts]


def _most(slots: Slots, auto: int) -> int:
    return auto if slots == "auto" else slots


def _label(gpus: Sequence[Gpu]) -> str:
    more = f"x{len(gpus)}" if len(gpus) > 1 else ""
    return f"{gpus[0].label}{more}"


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
