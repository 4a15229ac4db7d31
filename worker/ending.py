"""How a trial ended that was run to one of its ends."""

from __future__ import annotations

from typing import Literal, NamedTuple

from store.errors import TrialyardError
from store.messages import Metrics

Outcome = Literal["finished", "pruned", "paused", "returned"]


class Ending(NamedTuple):
    outcome: Outcome
    metrics: Metrics


class CommandFailed(TrialyardError):
    """A trial's command did not come to a result. `headline` says why, the text also what it printed last."""

    def __init__(self, headline: str, last_lines: str = "") -> None:
        self.headline = headline
        super().__init__(f"{headline}; its last lines:\n{last_lines}" if last_lines else headline)
