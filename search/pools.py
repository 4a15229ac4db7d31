"""The studies that run at once, in the pools whose slots they share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from datetime import datetime

from search.live_study import LiveStudy
from search.placing import Offer
from search.shares import FairShares

Pool = tuple[str, bool]  # its name, and whether it is of its workers with a GPU


class Pools:
    """Tells each study how many slots there are for it. One object serves one active scheduler."""

    def __init__(self) -> None:
        self._shares: defaultdict[Pool, FairShares] = defaultdict(FairShares)

    def divide(self, studies: Collection[LiveStudy], offers: Collection[Offer], at: datetime, seconds: float) -> None:
        """Set each study's `slots` and `share`.

        Args:
            offers: what each live worker offers.
            seconds: the same moment as `at`, on a clock that never goes back.
        """
        slots = Counter((offer.pool, offer.gpu) for offer in offers if offer.is_open)
        members: defaultdict[Pool, list[LiveStudy]] = defaultdict(list)
        for study in studies:
            resources = study.definition.resources
            pool = (resources.pool, resources.gpus > 0)
            study.slots, study.share = sum(offer.serves(resources) for offer in offers), None
            if not study.is_external:
                members[pool].append(study)
        for pool, sharing in members.items():
            self._share_out(pool, sharing, slots[pool], at, seconds)

    def _share_out(self, pool: Pool, studies: list[LiveStudy], slots: int, at: datetime, seconds: float) -> None:
        claims = {study.id: study.claim(at) for study in studies}
        competing = {study_id: claim for study_id, claim in claims.items() if claim.wanted}
        shares = self._shares[pool].divide(competing, slots, seconds)
        if slots and len(competing) > 1:
            for study in studies:
                study.share = shares.get(study.id)
