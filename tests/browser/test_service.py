"""The line above every page that says what keeps the service from going on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from store.models import SchedulerLeaseRow
from store.roster import SCHEDULER_KEY
from store.session import writes
from tests.browser.conftest import Site, Visitor, serving
from tests.services import RedisServer

FULL = "could not extend file: No space left on device"


@contextmanager
def failing(site: Site) -> Iterator[None]:
    """Its scheduler says that it can store nothing."""
    site.redis.hset(SCHEDULER_KEY, "trouble", FULL)
    try:
        yield
    finally:
        site.redis.delete(SCHEDULER_KEY)


@pytest.mark.parametrize("path", ["/", "/studies/digits-mlp", "/studies/digits-mlp/trials/45", "/workers"])
def test_every_page_says_that_the_scheduler_fails_and_why_until_it_is_over(visitor: Visitor, path: str) -> None:
    with failing(visitor.site):
        page = visitor.open(path, width=390)
        line = page.locator("#service .notice")
        expect(line).to_contain_text(f"The scheduler can store nothing: {FULL}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

    expect(line).to_be_hidden()


def test_nothing_is_said_while_all_is_well(visitor: Visitor) -> None:
    page = visitor.open("/compare?studies=digits-random,adult-mlp")
    with page.expect_response("**/readyz"):
        page.reload()

    expect(page.locator("#service .notice")).to_be_hidden()


def test_a_scheduler_that_is_not_there_and_a_redis_that_is_away_are_told(browser: Browser, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as own, serving(tmp_path / "home", own.url) as site:
        page = browser.new_page()
        page.goto(f"{site.url}/workers")
        line = page.locator("#service .notice")
        expect(line).to_contain_text("No scheduler runs")
        with writes(site.engine).begin() as session:
            session.add(SchedulerLeaseRow(id=1, holder="elsewhere/1/1", fence=1, beat=1))
        expect(line).to_be_hidden()

        own.stop()
        page.reload()
        expect(line).to_contain_text("Redis does not answer")
        expect(page.locator("#empty")).to_be_hidden()  # that there is no worker nobody can say
        page.close()
