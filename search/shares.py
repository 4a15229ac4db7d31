"""How many of a pool's slots each of its studies may use: in proportion to their priorities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """What a study asks of its pool: its weight, the slots that it could use, and the slot-seconds that its trials have
    had so far."""

    weight: int
    wanted: int
    used: float


class FairShares:
    """Divides the slots of one pool, and remembers who has had less than its due.

    A due share is seldom whole. What is left over beside the whole slots goes to the studies that are owed most
    slot-seconds, so that over time each gets its share, also of a pool with fewer slots than studies. What is due is so
    much of what was used: a slot that stood empty between two trials is owed to nobody. Nor is anything to who is due
    all that it wants. A running trial is never interrupted for it.
    """

    def __init__(self) -> None:
        self._owed: dict[int, float] = {}  # slot-seconds, by study
        self._due: dict[int, float] = {}  # of those that want more
        self._used: dict[int, float] = {}  # at the last look

    def divide(self, claims: Mapping[int, Claim], slots: int) -> dict[int, int]:
        """The slots for each study that wants any; together as many as there are, or as are wanted."""
        self._settle(claims)
        dues = due_shares(claims, slots)
        self._due = {study: due for study, due in dues.items() if due < claims[study].wanted}
        shares = {study: int(due + 1e-9) for study, due in dues.items()}
        wanting = [study for study, claim in claims.items() if shares[study] < claim.wanted]
        wanting.sort(key=lambda study: (-self._owed.get(study, 0.0), shares[study] - dues[study], study))
        for study in wanting[: slots - sum(shares.values())]:
            shares[study] += 1
        return shares

    def _settle(self, claims: Mapping[int, Claim]) -> None:
        """Book what was used since the last look."""
        used = {
            study: claim.used - self._used.get(study, claim.used)
            for study, claim in claims.items()
            if study in self._due
        }
        due = sum(self._due[study] for study in used)
        part = sum(used.values()) / due if due else 0.0
        self._owed = {
            study: self._owed.get(study, 0.0) + part * self._due[study] - seconds for study, seconds in used.items()
        }
        self._used = {study: claim.used for study, claim in claims.items()}


def due_shares(claims: Mapping[int, Claim], slots: int) -> dict[int, float]:
    """Slots in proportion to the weights; what a study does not want is divided among the others (max-min fairness)."""
    due: dict[int, float] = {}
    open_claims, left = dict(claims), float(slots)
    while open_claims:
        unit = left / sum(claim.weight for claim in open_claims.values())
        content = {study: claim.wanted for study, claim in open_claims.items() if claim.wanted <= unit * claim.weight}
        if not content:
            return due | {study: unit * claim.weight for study, claim in open_claims.items()}
        due |= {study: float(wanted) for study, wanted in content.items()}
        left -= sum(content.values())
        open_claims = {study: claim for study, claim in open_claims.items() if study not in content}
    return due
