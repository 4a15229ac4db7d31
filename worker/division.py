"""How many slots a machine has and what of it each of them gets, as its operator wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal

from pydantic import ByteSize, TypeAdapter, ValidationError

from search.sections import MOST_RANKS
from store.errors import SettingsError
from worker.gpu import Gpu
from worker.machine_memory import memory_bytes
from worker.places import MOST_ON_CORE, MOST_ON_GPU, Place, cores

Slots = int | Literal["auto"]

MOST_SLOTS = 64  # of an option, on each core or GPU: more is a slip, and their start alone would take the machine down
LONGEST_NUMBER = 9  # digits: a longer one is too large all the same
LEAST_MEMORY = 64 * 2**20  # bytes, which a slot takes before it has a trial


@dataclass(frozen=True)
class Division:
    """The wish of an operator for one machine.

    Attributes:
        gpus: "all", "none", or indices such as "0,2"; if left out all, of which there may be none. Every slot sees its
            own and nothing of the others.
        slots_per_gpu: how many slots share one GPU; "auto" finds it out while they work.
        group_sizes: how many GPUs make a slot, or of each group; the rest serve singly.
        cpu_slots: how many slots without a GPU; if left out one for each core where no GPU is served, else none; "auto"
            finds it out.
        memory_per_slot: bytes of the host's memory that a trial may use; if left out it may use all, and a slot offers
            its share of what there is.
    """

    gpus: str | None = None
    slots_per_gpu: Slots = 1
    group_sizes: Sequence[int] = (1,)
    cpu_slots: Slots | None = None
    memory_per_slot: int | None = None

    def places(self, served: Sequence[Gpu]) -> list[Place]:
        """A place for each slot; the cores are shared out evenly, and each GPU among its slots. Where the number of
        slots is to be found out, the place of the first one, which all others are like.

        Raises:
            SettingsError: there would be none, there are too few GPUs for the groups, or slots would share those of a
                group.
        """
        groups = group(served, self.group_sizes) if served else []
        if self.slots_per_gpu not in ("auto", 1) and any(len(each) > 1 for each in groups):
            raise SettingsError(
                "--slots-per-gpu: a group's trial has its GPUs for itself; leave it out, or --gpus-per-trial"
            )
        cpu_slots = (0 if served else cores()) if self.cpu_slots is None else self.cpu_slots
        count = len(groups) * _most(self.slots_per_gpu, MOST_ON_GPU) + _most(cpu_slots, MOST_ON_CORE * cores())
        if not count:
            raise SettingsError("a worker needs at least one slot; give --cpu-slots, or --gpus where there are some")
        memory = self.memory_per_slot or memory_bytes() // count
        is_limited = self.memory_per_slot is not None
        place = partial(Place, threads=max(1, cores() // count), memory=memory, is_limited=is_limited)
        return [*_on_gpus(groups, self.slots_per_gpu, place), *_on_cores(cpu_slots, place)]


def read_division(
    gpus: str | None, slots_per_gpu: str, gpus_per_trial: str, cpu_slots: str | None, memory_per_slot: str | None
) -> Division:
    """Of an operator's words, those of `trialyard worker`.

    Raises:
        SettingsError: one of them is not what its option takes.
    """
    return Division(
        gpus,
        slots_per_gpu=read_slots("--slots-per-gpu", slots_per_gpu, least=1, most=MOST_SLOTS),
        group_sizes=read_group_sizes(gpus_per_trial),
        cpu_slots=None if cpu_slots is None else read_slots("--cpu-slots", cpu_slots, most=MOST_SLOTS * cores()),
        memory_per_slot=None if memory_per_slot is None else _bytes(memory_per_slot),
    )


def read_slots(option: str, text: str, *, most: int, least: int = 0) -> Slots:
    """A number, or "auto".

    Raises:
        SettingsError: it is neither, or less or more than can be.
    """
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise SettingsError(f"{option} {text}: it must be a number, or auto to find it out")
    number = int(text[:LONGEST_NUMBER])
    if number < least:
        raise SettingsError(f"{option} {text}: it must be at least {least}; --gpus none leaves the GPUs alone")
    if number > most:
        raise SettingsError(f"{option} {text:.40}: it must be at most {most} on this machine")
    return number


def read_group_sizes(text: str) -> list[int]:
    """As in "2" for groups of two, "4,2,2" for one of four and two of two.

    Raises:
        SettingsError: they are no such numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= MOST_RANKS for part in parts):
        hint = "a number of GPUs such as 2, or one for each group as in 4,2,2"
        raise SettingsError(f"--gpus-per-trial {text}: it must be {hint}, each from 1 to {MOST_RANKS}")
    return [int(part) for part in parts]


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


def _bytes(size: str) -> int:
    """Raises: SettingsError: the text is no size, or none that a slot of this machine can have."""
    try:
        given = int(TypeAdapter(ByteSize).validate_python(size))
    except (ValidationError, OverflowError) as error:
        raise SettingsError(f"--memory-per-slot {size}: it must be a size, such as 8GiB or 500MB") from error
    there = memory_bytes()
    if not LEAST_MEMORY <= given <= there:
        least, most = ByteSize(LEAST_MEMORY).human_readable(), ByteSize(there).human_readable()
        raise SettingsError(
            f"--memory-per-slot {size}: it must be from {least}, which a slot takes, to the machine's {most}"
        )
    return given


def _on_gpus(groups: Sequence[Sequence[Gpu]], slots: Slots, place: Callable[..., Place]) -> list[Place]:
    places = []
    for each in groups:
        if slots == "auto":
            places.append(place(_label(each), gpus=each, crowd=_label(each) if len(each) == 1 else ""))
        else:
            places += [place(_label(each), gpus=each, gpu_share=1 / slots)] * slots
    return places


def _on_cores(slots: Slots, place: Callable[..., Place]) -> list[Place]:
    if slots == "auto":
        return [place("cpu", crowd="cpu")]
    return [place(f"cpu{index}") for index in range(slots)]


def _most(slots: Slots, auto: int) -> int:
    return auto if slots == "auto" else slots


def _label(gpus: Sequence[Gpu]) -> str:
    more = f"x{len(gpus)}" if len(gpus) > 1 else ""
    return f"{gpus[0].label}{more}"
