"""How a trial ended that was run to one of its ends."""

from __future__ import annotations

import re
import sys
from typing import Literal, NamedTuple

from store.errors import TrialyardError
from store.messages import Metrics
from trainer.errors import Diverged, TrainerError
from worker.reporter import NotANumber

LONGEST_REASON = 2000

Outcome = Literal["finished", "pruned", "paused", "returned"]
Failure = Literal["failed", "diverged", "infeasible", "lost"]


class Ending(NamedTuple):
    outcome: Outcome
    metrics: Metrics


class CommandFailed(TrialyardError):
    """A trial's command did not come to a result. `headline` says why, the text also what it printed last."""

    def __init__(self, headline: str, last_lines: str = "") -> None:
        self.headline = headline
        super().__init__(f"{headline}; its last lines:\n{last_lines}" if last_lines else headline)


class CommandDiverged(CommandFailed):
    """A trial's command gave a metric that is no finite number, and came to no result after it."""


class CommandStarved(CommandFailed):
    """The kernel has ended a trial's command for want of memory; whose doing that was is not known."""


class CrowdedOut(TrialyardError):
    """A training found no device memory beside its neighbours, on a device whose slots are being counted."""


class GroupFailed(TrialyardError):
    """A training in several processes did not come to an end of its own."""

    def __init__(self, outcome: Failure, reason: str) -> None:
        self.outcome = outcome
        super().__init__(reason)


class OutOfDeviceMemory(TrialyardError):
    """A training did not fit into the device's memory."""


def outcome_of(error: BaseException) -> Failure:
    """What an error of a trial says about its parameters: nothing, that they lead astray, or that they do not fit; or
    that a process of it died, which says nothing about them and may not happen again.
    """
    if isinstance(error, GroupFailed):
        return error.outcome
    if isinstance(error, CrowdedOut | CommandStarved):
        return "lost"
    torch = sys.modules.get("torch")  # a trial that has run out of its memory has imported it
    if isinstance(error, OutOfDeviceMemory) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return "infeasible"
    if isinstance(error, CommandFailed) and _OUT_OF_MEMORY.search(str(error)):
        return "infeasible"
    return "diverged" if isinstance(error, Diverged | NotANumber | CommandDiverged) else "failed"


_OUT_OF_MEMORY = re.compile(r"\btorch(\.cuda)?\.OutOfMemoryError\b|\bCUDA out of memory\b")


_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def reason_of(error: BaseException) -> str:
    """Why a trial or a task failed, for people: foreseen errors speak for themselves, others name their type."""
    match error:
        case TrialyardError() | TrainerError():
            reason = str(error)
        case MemoryError():
            reason = f"out of memory: {error}".rstrip(": ")
        case _:
            reason = f"{type(error).__name__}: {error}"
    # What a database takes and a terminal shows as it is: no colours, no NUL, no halves of characters.
    plain = _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], _COLOURS.sub("", reason))
    return plain.encode(errors="backslashreplace").decode()[:LONGEST_REASON]
