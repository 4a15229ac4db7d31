"""Which studies no live worker can serve."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import RedisError

from api.parts import Parts
from api.shapes import Study
from search.definition import Resources
from search.placing import Offer, lacks
from store.roster import read_workers

OPEN = ("PREPARING", "RUNNING", "PAUSED")


def said_to_lack(parts: Parts, resources: Resources) -> str | None:
    """What a study with these needs waits for; None if a live worker can serve it, or Redis is away."""
    offers = _offers(parts)
    return None if offers is None else lacks(resources, offers)


def with_waiting(parts: Parts, studies: Sequence[Study]) -> list[Study]:
    """Studies that say what they wait for."""
    offers = _offers(parts) if any(map(_needs_workers, studies)) else None
    if offers is None:
        return list(studies)
    return [_said(study, offers) if _needs_workers(study) else study for study in studies]


def _offers(parts: Parts) -> list[Offer] | None:
    try:
        return [Offer.of(worker) for worker in read_workers(parts.redis)]
    except RedisError:
        return None


def _said(study: Study, offers: Sequence[Offer]) -> Study:
    resources = Resources.model_validate(study.definition.get("resources", {}))
    return study.model_copy(update={"waiting_for": lacks(resources, offers)})


def _needs_workers(study: Study) -> bool:
    return study.state in OPEN and study.definition.get("trial", {}).get("kind") != "external"
