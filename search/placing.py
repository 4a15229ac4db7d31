"""Which workers can serve which studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydantic import ByteSize

from search.sections import Resources
from store.messages import PROTOCOL
from store.roster import whole_number

AWAY = ("leaving", "draining")  # states of workers that take nothing new
FIRST_PROTOCOL = 1  # of workers that do not say


class Offer(NamedTuple):
    """What a worker offers to each trial. `memory` in bytes, None if it does not say. It understands what it is sent
    if its `protocol` is the scheduler's."""

    pool: str
    gpus: int
    memory: int | None
    is_open: bool
    protocol: int

    @classmethod
    def of(cls, worker: Mapping[str, str]) -> Offer:
        """From the fields of its sign of life."""
        protocol = whole_number(worker, "protocol")
        return cls(
            worker.get("pool", ""),
            whole_number(worker, "gpus") or 0,
            whole_number(worker, "memory"),
            worker.get("state") not in AWAY,
            FIRST_PROTOCOL if protocol is None else protocol,
        )

    @property
    def understands(self) -> bool:
        return self.protocol == PROTOCOL

    def serves(self, resources: Resources) -> bool:
        """Whether a trial with these needs may run there."""
        has_memory = not resources.memory or self.memory is None or self.memory >= resources.memory
        is_able = self.is_open and self.understands
        return is_able and self.pool == resources.pool and self.gpus == resources.gpus and has_memory


def lacks(resources: Resources, offers: Iterable[Offer]) -> str | None:
    """What a study waits for when no live worker can ever serve it: a sentence; None if one can."""
    offers = [offer for offer in offers if offer.is_open]
    if any(offer.serves(resources) for offer in offers):
        return None
    needs = _with(resources.gpus)
    if resources.memory:
        needs += f" and {human(resources.memory)} of memory a slot"
    cure = f" (trialyard worker --gpus-per-trial {resources.gpus})" if resources.gpus > 1 else ""
    return f"no live worker can serve it: it needs one of the pool {resources.pool!r} {needs}{cure}; {_there(offers)}"


def _there(offers: list[Offer]) -> str:
    if not offers:
        return "no worker is live"
    kinds = Counter(
        f"of the pool {offer.pool!r} {_with(offer.gpus)}"
        + ("" if offer.memory is None else f" ({human(offer.memory)} a slot)")
        + ("" if offer.understands else ", of another version than the scheduler's")
        for offer in offers
    )
    return "live are " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _with(gpus: int) -> str:
    if gpus == 0:
        return "without a GPU"
    return "with a GPU" if gpus == 1 else f"with {gpus} GPUs a slot"


def human(size: int) -> str:
    """Bytes as people write them: 8.0GiB."""
    return ByteSize(size).human_readable()
