"""How long does a person wait for the page of a large study, and what does it ask of the server meanwhile?

    python -m benchmarks.page [--quick]

A study of 10,000 trials with 20 reports each, opened in a real browser (Chromium) that has opened the list of studies
before, and read down to its end: on SQLite and on PostgreSQL, at rest and while two workers end some trials a second;
and the same study in optuna-dashboard, where it is installed. Servers, scheduler, workers and browser share a machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import optuna
from playwright.sync_api import Browser, Page, Request, sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks.past import METRIC, write_past, write_peers_past
from store.migrate import upgrade
from store.session import connect
from store.settings import Settings
from tests.services import RedisServer, postgres_server
from trialyard.client import Client
from trialyard.local import free_port

STUDY = "large"
REPORTS = 20
PEER_REPORTS = 3  # a trial of optuna-dashboard's has fewer, in its favour
PATIENCE = 300.0  # seconds
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
POINTS = ".scatterlayer .trace path"
WORKERS = 2
GAP = 0.02  # seconds between a worker's reports
WATCHED = 12.0  # seconds of a running study, in which what lies further down is asked for twice more


class Asked(NamedTuple):
    """A request of the page."""

    milliseconds: float
    size: int
    path: str


@dataclass
class Visit:
    """What one opening of a page took: seconds to what could be seen, and its requests."""

    seconds: dict[str, float] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)

    def note(self, request: Request) -> None:
        address, response = urlsplit(request.url), request.response()
        if not address.scheme.startswith("http") or response is None or "event-stream" in str(response.headers):
            return
        timing, size = request.timing, request.sizes()["responseBodySize"]
        if size >= 0:  # it is below where the browser had the file, and asked nobody
            self.requests.append(Asked(timing["responseEnd"] - timing["requestStart"], size, address.path))

    @property
    def slowest(self) -> Asked:
        return max(self.requests)

    @property
    def figures(self) -> dict[str, float]:
        sizes = [each.size for each in self.requests]
        return {
            **self.seconds,
            "slowest request, ms": self.slowest.milliseconds,
            "largest answer, kB": max(sizes) / 1000,
            "in all, kB": sum(sizes) / 1000,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    quick = parser.parse_args().quick
    trials, rounds = (1_000, 1) if quick else (10_000, 3)
    visits: dict[str, list[Visit]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for database in ("SQLite", "PostgreSQL"):
            with serving(database, trials) as url:
                visits[f"{database}, at rest"] = [visit(browser, url, 0.0) for _ in range(rounds)]
                with working(url):
                    visits[f"{database}, running"] = [visit(browser, url, WATCHED) for _ in range(rounds)]
        with their_serving(trials) as theirs:
            if theirs:  # once: it takes minutes
                visits["optuna-dashboard"] = [their_visit(browser, theirs)]
        browser.close()
    tell(trials, visits)


@contextmanager
def serving(database: str, trials: int) -> Iterator[str]:
    """The address of our server with the study, and a scheduler, as processes of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(RedisServer(folder))
        places = {"TRIALYARD_HOME_DIR": str(folder), "TRIALYARD_REDIS_URL": redis.url}
        if database == "PostgreSQL":
            places["TRIALYARD_DATABASE_URL"] = stack.enter_context(postgres_server())
        settings = Settings(home_dir=folder, database_url=places.get("TRIALYARD_DATABASE_URL", ""))
        upgrade(settings.database)
        engine = connect(settings.database)
        write_past(engine, STUDY, trials, REPORTS, trial={"kind": "external"})
        engine.dispose()
        ours, environment, port = [sys.executable, "-m", "trialyard"], os.environ | places, free_port()
        stack.enter_context(process([*ours, "scheduler"], environment))
        stack.enter_context(process([*ours, "serve", "--port", str(port)], environment))
        url = f"http://127.0.0.1:{port}"
        _await_answer(f"{url}/healthz")
        yield url


@contextmanager
def working(url: str) -> Iterator[None]:
    """Workers that take trials of the study, report and end them."""
    over = threading.Event()
    crew = [threading.Thread(target=_work, args=(url, f"w{place}", over)) for place in range(WORKERS)]
    for worker in crew:
        worker.start()
    try:
        yield
    finally:
        over.set()
        for worker in crew:
            worker.join()


def _work(url: str, name: str, over: threading.Event) -> None:
    with Client(url) as client:
        while not over.is_set():
            for handout in client.ask(STUDY, name):
                value = sum(handout.parameters.values()) + 1
                for step in range(1, REPORTS + 1):
                    if client.report(STUDY, handout, step, {METRIC: value + 1 / step}) != "continue":
                        break
                    over.wait(GAP)
                else:
                    client.tell(STUDY, handout, "complete", {METRIC: value})


@contextmanager
def their_serving(trials: int) -> Iterator[str | None]:
    """The same of optuna-dashboard; None where it is not installed."""
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        address, port = f"sqlite:///{folder}/optuna.db", free_port()
        write_peers_past(optuna.create_study(study_name=STUDY, storage=address), trials, PEER_REPORTS)
        with process([str(program), address, "--port", str(port)], dict(os.environ)):
            _await_answer(f"http://127.0.0.1:{port}/dashboard/")
            yield f"http://127.0.0.1:{port}"


@contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def _await_answer(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _answers(url):
        if time.monotonic() > deadline:
            raise SystemExit(f"{url} does not answer")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def visit(browser: Browser, url: str, watched: float) -> Visit:
    """Open the study, see its first figures, read down to its end, and stay for so many seconds."""
    page = _from_the_list(browser, url)
    found = Visit()
    page.on("requestfinished", found.note)
    begin = time.perf_counter()
    page.goto(f"{url}/studies/{STUDY}", wait_until="commit")
    for name, figure in (("first figure, s", "#history"), ("all in view, s", "#curves")):
        _await(page, f"{figure} {POINTS}")
        found.seconds[name] = time.perf_counter() - begin
    for part in ("#analysis", "#effort", "#trials"):
        page.locator(part).scroll_into_view_if_needed()
    for shown in ("#importance .importance", f"#slices {POINTS}", f"#timeline {POINTS}"):
        _await(page, shown)
    found.seconds["all of the page, s"] = time.perf_counter() - begin
    page.wait_for_timeout(1000 * watched)
    page.context.close()
    return found


def their_visit(browser: Browser, url: str) -> Visit:
    page = _from_the_list(browser, url)
    found = Visit()
    page.on("requestfinished", found.note)
    begin = time.perf_counter()
    page.goto(f"{url}/dashboard/studies/1", wait_until="commit")
    _await(page, f".js-plotly-plot {POINTS}")
    found.seconds["first figure, s"] = time.perf_counter() - begin
    page.context.close()
    return found


def _from_the_list(browser: Browser, url: str) -> Page:
    """A window that has shown the list of studies, as a person has who comes from there."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(url, timeout=1000 * PATIENCE)
    page.wait_for_timeout(1500)  # in which a person finds the study, and the browser fetches what it will need
    return page


def _await(page: Page, selector: str) -> None:
    page.wait_for_selector(selector, state="attached", timeout=1000 * PATIENCE)


def medians(visits: list[Visit]) -> dict[str, float]:
    rounds = [visit.figures for visit in visits]
    return {name: round(statistics.median(each[name] for each in rounds), 2) for name in rounds[0]}


def tell(trials: int, visits: dict[str, list[Visit]]) -> None:
    found = {name: medians(each) for name, each in visits.items()}
    names = list(next(iter(found.values())))
    table = Table("", *names, box=None)
    for who, figures in found.items():
        table.add_row(who, *(f"{figures[name]:,.2f}" if name in figures else "" for name in names))
    Console().print(table)
    worst = {name: max(visit.slowest for visit in each)._asdict() for name, each in visits.items()}
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    about = {"trials": trials, "reports": REPORTS, "pages": found, "slowest": worst}
    print(json.dumps({"benchmark": "page", **machine, **about}))


if __name__ == "__main__":
    main()
