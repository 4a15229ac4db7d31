"""Tells the log that a service is away or slow, and when it is back: once each, and in between seldom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import structlog

AGAIN_SECONDS: Final = 60.0  # between two words about the same outage

log = structlog.get_logger(__name__)


class Outage:
    """Whether a service answers, as whoever asks it finds out again and again.

    Attributes:
        error: what it said the last time; "" while it answers.
    """

    def __init__(self, away: str, back: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`away`, `back`: what the log says."""
        self.error = ""
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
        self.error = error
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
            self._since, self.error = None, ""


class Slowness:
    """Whether something takes longer than it should."""

    def __init__(self, slow: str, most_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`slow`: what the log says, with how often it was so since it said it last, and for how long at most."""
        self._slow = slow
        self._most = most_seconds
        self._monotonic = monotonic
        self._times, self._longest = 0, 0.0
        self._say_at = -math.inf

    def took(self, seconds: float) -> None:
        """It was done once."""
        if seconds <= self._most:
            return
        self._times, self._longest = self._times + 1, max(self._longest, seconds)
        if self._monotonic() < self._say_at:
            return
        log.warning(self._slow, seconds=round(self._longest, 1), times=self._times)
        self._times, self._longest = 0, 0.0
        self._say_at = self._monotonic() + AGAIN_SECONDS
