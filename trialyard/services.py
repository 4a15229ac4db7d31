"""The processes of the service, and what an operator does beside them. Each part is imported when it is started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table

from store.addresses import without_password
from store.bus import check_redis
from store.errors import SettingsError
from store.keys import Keys
from store.migrate import upgrade
from store.models import KeyRole
from store.session import connect, writes
from store.settings import Settings
from trialyard.errors import BadInput
from trialyard.joining import check_scheduler, join
from trialyard.tables import moment
from trialyard.terminal import complaints

if TYPE_CHECKING:
    from worker.division import Division


def serve(settings: Settings) -> int:
    from api.main import serve as run_server

    _look_at_redis(settings.redis_url)
    return run_server(settings)


def schedule(settings: Settings) -> int:
    # numpy reads it when it is imported. More threads gain nothing on matrices this small, and spin on others' cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from search.process import main

    return main(_with_redis(settings))


def work(settings: Settings, server: str | None, pool: str, division: Division, name: str | None) -> int:
    from worker.pool import Pool

    if not re.fullmatch(r"[a-z0-9-]{1,64}", pool):  # as studies name it in `resources`
        raise BadInput(f"--pool {pool!r}: is no name; use 1 to 64 lower-case letters, digits and hyphens")
    if server is not None:
        settings = join(settings, server, complaints().print)
    settings = _with_redis(settings, "the server with --server https://…, or ")
    check_scheduler(settings.redis_url, complaints().print)
    return Pool(settings, pool, division, name).run()


def create_key(settings: Settings, name: str, role: KeyRole) -> str:
    with _keys(settings) as keys:
        text = keys.create(name, datetime.now(UTC), role)
    # On another machine than the server's it would be another database, and the key one that nobody knows.
    complaints().print(f"{name}: a {role}'s key for the service on {without_password(settings.database)}; shown once")
    return text


def keys_table(settings: Settings) -> Table:
    table = Table("name", "role", "made", "revoked", box=None, pad_edge=False, header_style="bold")
    with _keys(settings) as keys:
        for key in keys.all():
            revoked = moment(key.revoked_at) if key.revoked_at else ""
            table.add_row(key.name, key.role, moment(key.created_at), revoked)
    return table


def revoke_key(settings: Settings, name: str) -> None:
    with _keys(settings) as keys:
        keys.revoke(name, datetime.now(UTC))


def migrate(settings: Settings) -> None:
    upgrade(settings.database)


@contextmanager
def _keys(settings: Settings) -> Iterator[Keys]:
    """The keys in the database, which is made or brought up to date first; what was changed is committed at the end."""
    upgrade(settings.database)
    engine = connect(settings.database)
    try:
        with writes(engine).begin() as session:
            yield Keys(session)
    finally:
        engine.dispose()


def _with_redis(settings: Settings, instead: str = "") -> Settings:
    if not settings.redis_url:
        shared = f"name {instead}the Redis that server, scheduler and workers share"
        raise SettingsError(f"TRIALYARD_REDIS_URL is not set; {shared}")
    _look_at_redis(settings.redis_url)
    return settings


def _look_at_redis(url: str) -> None:
    """Say so if it is away, which may pass. Raises: SettingsError: waiting would be in vain."""
    if url and (away := check_redis(url)) is not None:
        complaints().print(away)
