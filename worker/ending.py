"""How a trial ended that was run to one of its ends."""

from __future__ import annotations

from typing import Literal, NamedTuple

from store.errors import TrialyardError
from store.messages import Metrics
from trainer.errors import TrainerError

LONGEST_REASON = 2000

Outcome = Literal["finished", "pruned", "paused", "returned"]


class Ending(NamedTuple):
    outcome: Outcome
    metrics: Metrics


class CommandFailed(TrialyardError):
    """A trial's command did not come to a result. `headline` says why, the text also what it printed last."""

    def __init__(self, headline: str, last_lines: str = "") -> None:
        self.headline = headline
        super().__init__(f"{headline}; its last lines:\n{last_lines}" if last_lines else headline)


def reason_of(error: BaseException) -> str:
    """Why a trial or a task failed, for people: foreseen errors speak for themselves, others name their type."""
    match error:
        case TrialyardError() | TrainerError():
            reason = str(error)
        case MemoryError():
            reason = f"out of memory: {error}".rstrip(": ")
        case _:
            reason = f"{type(error).__name__}: {error}"
    # What a database takes: no NUL, no halves of characters.
    return reason.replace("\0", "\\0").encode(errors="backslashreplace").decode()[:LONGEST_REASON]
