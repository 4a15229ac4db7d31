"""The process of a scheduler, from its start to SIGTERM."""

from __future__ import annotations

import signal

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
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: scheduler.stop())
    scheduler.run()
    return 0
