"""How a trial ended that was run to one of its ends."""

from __future__ import annotations

from typing import Literal, NamedTuple

from store.messages import Metrics

Outcome = Literal["finished", "pruned", "paused", "returned"]


class Ending(NamedTuple):
    outcome: Outcome
    metrics: Metrics
