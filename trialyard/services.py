"""The processes of the service, and what an operator does beside them. Each part is imported when it is started."""

from __future__ import annotations

from store.errors import SettingsError
from store.settings import Settings

NEEDS_REDIS = "TRIALYARD_REDIS_URL is not set: name the Redis that server, scheduler and workers share"


def serve(settings: Settings) -> int:
    from api.main import serve as run_server

    return run_server(_with_redis(settings))


def schedule(settings: Settings) -> int:
    from search.scheduler import main

    return main(_with_redis(settings))


def work(settings: Settings, pool: str, cpu_slots: int, gpus: str, slots_per_gpu: int, name: str | None) -> int:
    from worker.pool import Pool

    return Pool(
        _with_redis(settings), pool=pool, cpu_slots=cpu_slots, gpus=gpus, slots_per_gpu=slots_per_gpu, name=name
    ).run()


def migrate(settings: Settings) -> None:
    from store.migrate import upgrade

    upgrade(settings.database)


def _with_redis(settings: Settings) -> Settings:
    if not settings.redis_url:
        raise SettingsError(NEEDS_REDIS)
    return settings
