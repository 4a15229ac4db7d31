"""The studies that run at once, in the pools whose slots they share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from datetime import datetime

import structlog

from search.live_study import LiveStudy
from search.placing import Offer
from search.shares import FairShares
from store.messages import PROTOCOL, Take

_STRANGE = "a worker of another version is given no trials; install this scheduler's version there"

log = structlog.get_logger(__name__)

Pool = tuple[str, int]  # its name, and how many GPUs its workers have a slot


class Seats:
    """What each live worker offers, and the jobs that came to workers too small for them."""

    def __init__(self) -> None:
        self.offers: dict[str, Offer] = {}
        self._declined: set[tuple[int, int | None, int]] = set()
        self._strangers: set[str] = set()  # workers of which the log has told

    def look(self, offers: dict[str, Offer]) -> set[tuple[int, int | None, int]]:
        """Take in what the workers offer now: the jobs that go back to the queue, which all of a pool share."""
        self.offers = offers
        strangers = {name for name, offer in offers.items() if not offer.understands}
        for name in sorted(strangers - self._strangers):
            log.warning(_STRANGE, worker=name, its_messages=offers[name].protocol, ours=PROTOCOL)
        self._strangers = strangers
        declined, self._declined = self._declined, set()
        return declined

    def fits(self, request: Take, study: LiveStudy) -> bool:
        """Whether a trial fits on the worker that has its job; a preflight that it runs already does."""
        resources, offer = study.definition.resources, self.offers.get(request.worker)
        if offer is None or request.worker == study.preflight_worker or offer._replace(is_open=True).serves(resources):
            return True
        self._declined.update(job for job in study.jobs() if job[1] == request.number)
        return False


class Pools:
    """Tells each study how many slots there are for it. One object serves one active scheduler."""

    def __init__(self) -> None:
        self._shares: defaultdict[Pool, FairShares] = defaultdict(FairShares)

    def divide(self, studies: Collection[LiveStudy], offers: Collection[Offer], at: datetime) -> None:
        """Set each study's `slots` and `share`.

        Args:
            offers: what each live worker offers.
        """
        slots = Counter((offer.pool, offer.gpus) for offer in offers if offer.is_open)
        members: defaultdict[Pool, list[LiveStudy]] = defaultdict(list)
        for study in studies:
            resources = study.definition.resources
            pool = (resources.pool, resources.gpus)
            study.slots, study.share = sum(offer.serves(resources) for offer in offers), None
            if not study.is_external:
                members[pool].append(study)
        for pool, sharing in members.items():
            self._share_out(pool, sharing, slots[pool], at)

    def _share_out(self, pool: Pool, studies: list[LiveStudy], slots: int, at: datetime) -> None:
        claims = {study.id: study.claim(at) for study in studies}
        competing = {study_id: claim for study_id, claim in claims.items() if claim.wanted}
        shares = self._shares[pool].divide(competing, slots)
        if slots and len(competing) > 1:
            for study in studies:
                study.share = shares.get(study.id)
