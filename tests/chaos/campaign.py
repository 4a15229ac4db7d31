"""A campaign: two studies under faults by chance, and the same two left in peace."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from search.definition import parse
from store.models import StudyRow, StudyState, TrialRow
from store.session import connect, writes
from tests.chaos.checker import Verdict, check
from tests.chaos.faults import FAULTS
from tests.chaos.service import Service, running_service

END_SECONDS = 180.0  # for the studies to end when the last fault is over


@dataclass
class Outcome:
    """What a campaign came to. `recoveries`: seconds from the end of each fault to the next end of a trial."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        return [what for verdict in self.verdicts.values() for what in verdict.wrong]

    @property
    def recovery_p99(self) -> float:
        ordered = sorted(self.recoveries)
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else 0.0


def run_campaign(
    folder: Path,
    seed: int,
    trials: int,
    seconds: float,
    kinds: Sequence[str] = tuple(FAULTS),
    step_seconds: float = 0.05,
    on_postgres: bool = True,
    whole: bool = True,
    slots: int = 2,
) -> Outcome:
    """
    Args:
        trials: of each of the two studies, a grid and a random search; a square number.
        seconds: for how long faults are made, unless the studies end earlier.
    """
    outcome = Outcome(seed)
    chance = random.Random(seed)
    started = time.monotonic()
    with running_service(folder, step_seconds, on_postgres, whole, slots) as service:
        engine = connect(service.database_url)
        for document in documents(trials):
            submit(engine, document)
        while _ended(engine) < 1:  # what follows is about a service at work
            time.sleep(0.1)
        until = time.monotonic() + seconds
        while time.monotonic() < until and not _is_over(engine, "grid", "random"):
            strike(service, engine, chance, kinds, outcome)
        service.revive()
        _await_end(service, engine)
        for name in ("grid", "random"):
            outcome.verdicts[name] = check(engine, name, trials, folder)
        engine.dispose()
    outcome.seconds = time.monotonic() - started
    return outcome


def strike(service: Service, engine: Engine, chance: random.Random, kinds: Sequence[str], outcome: Outcome) -> None:
    """One fault, and the wait until a trial has ended after it; sometimes the next one does not wait."""
    kind = chance.choice(list(kinds))
    FAULTS[kind](service, chance)
    service.revive()
    outcome.faults[kind] += 1
    if chance.random() < 0.25:
        time.sleep(chance.random())
        return
    mended = time.monotonic()
    before = _ended(engine)
    while _ended(engine) == before and not _is_over(engine, "grid", "random"):
        service.revive()
        if time.monotonic() - mended > 60:
            break  # stuck: the recovery says so
        time.sleep(0.05)
    outcome.recoveries.append(time.monotonic() - mended)


def documents(trials: int) -> list[dict[str, Any]]:
    side = round(trials**0.5)
    spaces: dict[str, dict[str, Any]] = {
        "grid": {name: {"values": [index / side for index in range(side)]} for name in ("x", "y")},
        "random": {name: {"low": 0.0, "high": 1.0} for name in ("x", "y")},
    }
    return [
        {
            "name": name,
            "objective": {"metric": "loss", "direction": "minimize"},
            "parameters": space,
            "sampler": {"name": name, "seed": 7},
            "budget": {"trials": trials, "parallel": 2, "retries": 100},
            "trial": {"kind": "objective", "name": "bowl"},
        }
        for name, space in spaces.items()
    ]


def submit(engine: Engine, document: dict[str, Any]) -> None:
    """What the API does; the scheduler sees it at its next round."""
    definition = parse(document)
    row = StudyRow(
        name=definition.name,
        state=str(StudyState.PREPARING),
        definition=definition.document(),
        created_at=datetime.now(UTC),
    )
    with writes(engine).begin() as session:
        session.add(row)


def _ended(engine: Engine) -> int:
    """How many trials have ended; as before while the database is away."""
    try:
        with Session(engine) as session:
            return session.scalar(select(func.count()).where(TrialRow.ended_at.is_not(None))) or 0
    except DBAPIError:
        return -1


def _is_over(engine: Engine, *names: str) -> bool:
    try:
        with Session(engine) as session:
            states = session.scalars(select(StudyRow.state).where(StudyRow.name.in_(names))).all()
    except DBAPIError:
        return False
    return bool(states) and all(StudyState(state).ended for state in states)


def _await_end(service: Service, engine: Engine) -> None:
    deadline = time.monotonic() + END_SECONDS
    while not _is_over(engine, "grid", "random") and time.monotonic() < deadline:
        service.revive()
        time.sleep(0.1)
