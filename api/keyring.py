"""The keys that open this server, and whether an address may be served without any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from store.addresses import is_loopback
from store.errors import SettingsError
from store.keys import Keys, digest, role_of
from store.models import KeyRole
from store.session import reads
from store.settings import Settings

SHORTEST_KEY = 16  # characters of one that is not ours: guesses are not slowed down
FRESH_SECONDS = 2.0  # for so long a revoked key may still be let in


class KeyRing:
    """The key of the settings and those of the database, looked up again every few seconds."""

    def __init__(
        self, settings: Settings, sessions: sessionmaker[Session], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        own = settings.api_key.get_secret_value() if settings.api_key else ""
        self._own = {digest(own): KeyRole.USER} if own else {}
        self._sessions = sessions
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._stored: Mapping[str, KeyRole] = {}
        self._were_any = False
        self._stale_at = float("-inf")

    def roles(self) -> Mapping[str, KeyRole]:
        """The roles of all valid keys by their digests."""
        with self._lock:
            self._look_up()
            return {**self._stored, **self._own}

    def roles_once_wanted(self) -> Mapping[str, KeyRole] | None:
        """The same; None if there never was a key, so that none is wanted. To revoke the last one opens nothing."""
        with self._lock:
            self._look_up()
            return {**self._stored, **self._own} if self._were_any or self._own else None

    def role_of(self, text: str) -> KeyRole | None:
        """None, if the text is no valid key."""
        return role_of(text, self.roles())

    def _look_up(self) -> None:
        if self._monotonic() >= self._stale_at:
            with self._sessions() as session:
                keys = Keys(session)
                self._stored, self._were_any = keys.valid(), keys.were_any()
            self._stale_at = self._monotonic() + FRESH_SECONDS


def check_exposure(settings: Settings, engine: Engine) -> None:
    """Raises: SettingsError: other machines could reach the address, and no API key is configured, or a short one."""
    if is_loopback(settings.host):
        return
    own = settings.api_key.get_secret_value() if settings.api_key else ""
    if 0 < len(own) < SHORTEST_KEY:
        raise SettingsError(
            f"TRIALYARD_API_KEY: {len(own)} characters can be guessed, and {settings.host} can be reached from other "
            f"machines; take {SHORTEST_KEY} or more at random, as from `openssl rand -hex 24`"
        )
    if not KeyRing(settings, reads(engine)).roles():
        raise SettingsError(
            f"TRIALYARD_HOST: {settings.host} can be reached from other machines, and no API key is configured; "
            "make one with `trialyard keys create NAME` (or set TRIALYARD_API_KEY), or listen on 127.0.0.1"
        )
