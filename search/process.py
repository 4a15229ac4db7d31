"""The process of a scheduler, from its start to SIGTERM."""

from __future__ import annotations

import signal
from types import FrameType

import optuna

from search.scheduler import Scheduler
from store.bus import open_redis
from store.migrate import upgrade
from store.session import connect
from store.settings import Settings


def main(settings: Settings) -> int:
    """Run a scheduler until SIGTERM or SIGINT."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    upgrade(settings.database)
    engine = connect(settings.database, ping=False)
    scheduler = Scheduler(settings, engine, open_redis(settings.redis_url, settings.idle_seconds))

    def leave(_signal: int, _frame: FrameType | None) -> None:
        scheduler.stop()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    scheduler.run()
    return 0
