"""Watching a study until it ends: live in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from rich.console import Console
from rich.live import Live

from trialyard.client import Client
from trialyard.ensembles import follow_refit
from trialyard.errors import ApiError, ServerError, Unreachable
from trialyard.progress import Progress, line, view
from trialyard.rescoring import follow_race
from trialyard.resources import Event, Study
from trialyard.results import conclude

MOMENT_SECONDS = 0.1
LINE_SECONDS = 5.0
LOOK_SECONDS = 5.0  # how often the study itself is read, in case its events do not come through
PATIENCE_SECONDS = 60.0  # how long a server may be away before we give up watching


def follow_to_the_end(client: Client, study: Study, console: Console, each_moment: Callable[[], None]) -> None:
    """Show a study's progress, its results, and what follows its search: the race and the refit, where it has them.

    Args:
        each_moment: called several times a second; what it raises ends the watching.

    Raises:
        CommandError: it failed, or has no result.
        ApiError: the study was deleted, the key is no longer good, or the server stayed away for a minute.
    """
    if not study.ended:
        study = follow(client, study, console, each_moment)
    conclude(console, client, study)
    follow_race(client, study, console, each_moment)
    follow_refit(client, study, console, each_moment)


def follow(client: Client, study: Study, console: Console, each_moment: Callable[[], None]) -> Study:
    """Show a study's progress until it has ended.

    Args:
        each_moment: called several times a second; what it raises ends the watching.

    Raises:
        ApiError: the study was deleted, the key is no longer good, or the server stayed away for a minute.
    """
    moments = _telling_failures(console, _moments(client, study, each_moment))
    if console.is_terminal:
        page_url = page_of(client, study.name)
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            for progress, elapsed in moments:
                live.update(view(progress, elapsed, page_url))
    else:
        next_line = 0.0
        for progress, elapsed in moments:
            if elapsed >= next_line:
                console.print(line(progress, elapsed), highlight=False, soft_wrap=True)
                next_line = elapsed + LINE_SECONDS
    return client.study(study.name)


def page_of(client: Client, study: str) -> str:
    return f"{client.server_url}/studies/{study}"


def _telling_failures(console: Console, moments: Iterator[tuple[Progress, float]]) -> Iterator[tuple[Progress, float]]:
    """The same, and each way in which trials fail is a line that stays: nobody is to wait for the last to learn it."""
    told = 0
    for progress, elapsed in moments:
        for text in progress.failures_after(told):
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        told = len(progress.failures)
        yield progress, elapsed


def _moments(client: Client, study: Study, each_moment: Callable[[], None]) -> Iterator[tuple[Progress, float]]:
    """The progress and the seconds since we began, again and again, until the study has ended."""
    began = time.monotonic()
    feed, backstop, progress = _Feed(client, study.name), _Backstop(client, study.name), Progress.of(study)
    while not progress.ended:
        each_moment()
        events = feed.take(MOMENT_SECONDS)
        for event in events:
            progress.apply(event)
        if not events and backstop.says_ended():
            return
        yield progress, time.monotonic() - began


class _Feed:
    """The events of a study, taken from the server by a thread of its own, in order."""

    def __init__(self, client: Client, study: str) -> None:
        self._events: queue.SimpleQueue[Event | ApiError] = queue.SimpleQueue()
        # A daemon: it hangs in a read most of the time, and nothing is lost when the process ends around it.
        threading.Thread(target=self._read, args=(client, study), name="events", daemon=True).start()

    def take(self, seconds: float) -> list[Event]:
        """What has come in, after waiting up to `seconds` for the first of it. Raises: ApiError."""
        events: list[Event] = []
        with suppress(queue.Empty):
            while True:
                item = self._events.get(timeout=0 if events else seconds)
                if isinstance(item, ApiError):
                    raise item
                events.append(item)
        return events

    def _read(self, client: Client, study: str) -> None:
        try:
            for event in client.events(study):
                self._events.put(event)
        except ApiError as error:
            self._events.put(error)


class _Backstop:
    """Reads the study itself now and then, in case its events do not come through."""

    def __init__(self, client: Client, study: str) -> None:
        self._client = client
        self._study = study
        self._answered = self._looked = time.monotonic()

    def says_ended(self) -> bool:
        """Raises: ApiError: the server has not answered for a minute."""
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS:
            return False
        self._looked = now
        try:
            study = self._client.study(self._study)
        except (Unreachable, ServerError):
            if now > self._answered + PATIENCE_SECONDS:
                raise
            return False
        self._answered = now
        return study.ended
