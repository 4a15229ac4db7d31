"""The real server with seeded studies, and the system's Chromium. A page that logs an error, or asks another host for
anything, fails its test.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import Engine

from store.bus import open_redis
from store.migrate import upgrade
from store.session import connect
from store.settings import Settings
from tests.api_server import listening
from tests.browser.seed import Player, seed_studies

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A server in this process, and the way to its database past it."""

    url: str
    settings: Settings
    engine: Engine
    redis: redis.Redis

    def player(self, study: str) -> Player:
        return Player(self.engine, self.redis, study)


@dataclass
class Visitor:
    """Opens pages, and keeps account of what went wrong on them."""

    site: Site
    browser: Browser
    usual: BrowserContext
    opened: list[Page] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str, width: int = 1440, **options: Any) -> Page:
        """A page of the site; with options, in a browser context of its own."""
        page = self.browser.new_page(**options) if options else self.usual.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        self.opened.append(page)
        page.on("console", lambda message: self._hear(message.type, message.text, message.location["url"]))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._see(request.url))
        page.goto(self.site.url + path)
        return page

    def _hear(self, kind: str, text: str, url: str) -> None:
        # That the service is not ready, as for a moment on a busy machine, is an answer; a browser calls it an error.
        if kind in ("error", "warning") and not url.endswith("/readyz"):
            self.complaints.append(f"{text} {url}")

    def _see(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.complaints.append(f"asked {url}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed, and CI must run every test")
        pytest.skip("chromium is not installed")
    expect.set_options(timeout=15_000)  # of a machine that does much else besides
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, redis_service: str) -> Iterator[Site]:
    """One for all tests: each uses studies of its own, or only looks."""
    with serving(tmp_path_factory.mktemp("home"), redis_service) as site:
        seed_studies(site.engine, site.settings.artifacts)
        yield site


@pytest.fixture(scope="session")
def context(browser: Browser) -> BrowserContext:
    """Shared, as its cache holds the figures' library compiled."""
    return browser.new_context()


@pytest.fixture
def visitor(site: Site, browser: Browser, context: BrowserContext) -> Iterator[Visitor]:
    visitor = Visitor(site, browser, context)
    yield visitor
    for page in visitor.opened:
        page.close()
    assert visitor.complaints == []


@contextmanager
def serving(home: Path, redis_url: str, **settings: Any) -> Iterator[Site]:
    """A server on a free port of this machine."""
    chosen = Settings(home_dir=home, redis_url=redis_url, **settings)
    upgrade(chosen.database)
    engine = connect(chosen.database)
    try:
        with listening(chosen) as url:
            yield Site(url, chosen, engine, open_redis(redis_url))
    finally:
        engine.dispose()
