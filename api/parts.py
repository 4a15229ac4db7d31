"""What `create_app` makes once and every route works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import redis
from anyio import CapacityLimiter
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from api.bell import Bell
from api.fanova import Fanova
from api.importances import Importances
from api.keyring import KeyRing
from api.scheduler_line import SchedulerLine
from store.artifacts import Artifacts
from store.settings import Settings


@dataclass(frozen=True)
class Parts:
    settings: Settings
    engine: Engine
    reads: sessionmaker[Session]
    writes: sessionmaker[Session]
    redis: redis.Redis
    scheduler: SchedulerLine
    bell: Bell
    keys: KeyRing
    artifacts: Artifacts
    importances: Importances
    fanova: Fanova
    large_bodies: CapacityLimiter  # who is about to read one
    clock: Callable[[], datetime]
