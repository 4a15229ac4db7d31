"""Tells the log that a service is away, and when it is back: once each, and in between seldom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

AGAIN_SECONDS: Final = 60.0  # between two words about the same outage

log = structlog.get_logger(__name__)


class Outage:
    """Whether a service answers, as whoever asks it finds out again and again."""

    def __init__(self, away: str, back: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`away`, `back`: what the log says."""
        self._away = away
        self._back = back
        self._monotonic = monotonic
        self._since: float | None = None
        self._said = 0.0

    @property
    def lasts(self) -> bool:
        """Whether it did not answer when it was asked last."""
        return self._since is not None

    def goes_on(self, error: str) -> None:
        """It did not answer."""
        now = self._monotonic()
        if self._since is None:
            self._since = now
        elif now < self._said + AGAIN_SECONDS:
            return
        self._said = now
        log.warning(self._away, error=error, seconds=round(now - self._since))

    def is_over(self) -> None:
        """It answered."""
        if self._since is not None:
            log.warning(self._back, seconds=round(self._monotonic() - self._since))
            self._since = None
