"""How long does a person wait for the page of a large study, and what does it ask of the server meanwhile?

    python -m benchmarks.page [--quick]

A study of 10,000 trials with 20 reports each on SQLite, opened in a real browser (Chromium) that has opened the list of
studies before; and the same study in optuna-dashboard, where it is installed. What counts is the first figure with
points in it, and ours when every figure that is in view has its own. Both servers and the browser share the machine.
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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, Page, Request, sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks.decision import write_peers_past
from benchmarks.past import write_past
from store.migrate import upgrade
from store.session import connect
from store.settings import Settings
from tests.services import RedisServer
from trialyard.local import free_port

STUDY = "large"
REPORTS = 20
PATIENCE = 300.0  # seconds
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
POINTS = "#history .scatterlayer .trace path"
THEIR_POINTS = ".js-plotly-plot .scatterlayer .trace path"
CURVES_ARE_THERE = "document.querySelector('#curves-caption').innerText.includes('curves')"


@dataclass
class Visit:
    """What one opening of a page took: seconds, and its requests as (milliseconds, bytes)."""

    first_figure: float = 0.0
    all_figures: float | None = None
    requests: list[tuple[float, int]] = field(default_factory=list)

    def note(self, request: Request) -> None:
        if urlsplit(request.url).scheme.startswith("http"):
            timing, response = request.timing, request.response()
            size = (
                request.sizes()["responseBodySize"] if response and "event-stream" not in str(response.headers) else 0
            )
            self.requests.append((timing["responseEnd"] - timing["requestStart"], size))

    @property
    def figures(self) -> dict[str, float]:
        found = {
            "first figure, s": self.first_figure,
            "slowest request, ms": max(took for took, _ in self.requests),
            "largest answer, kB": max(size for _, size in self.requests) / 1000,
            "in all, kB": sum(size for _, size in self.requests) / 1000,
        }
        return found if self.all_figures is None else {"all in view, s": self.all_figures, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    quick = parser.parse_args().quick
    trials, rounds = (1_000, 1) if quick else (10_000, 3)
    visits: dict[str, list[Visit]] = {"ours": [], "optuna-dashboard": []}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with serving(Path(folder), trials) as ours, their_serving(Path(folder), trials) as theirs:
            for _ in range(rounds):
                visits["ours"].append(visit(browser, ours, f"/studies/{STUDY}", POINTS, CURVES_ARE_THERE))
            if theirs:  # once: it takes minutes
                visits["optuna-dashboard"].append(visit(browser, theirs, "/dashboard/studies/1", THEIR_POINTS))
        browser.close()
    tell(trials, {name: medians(found) for name, found in visits.items() if found})


@contextmanager
def serving(folder: Path, trials: int) -> Iterator[str]:
    """The address of our server, as a process of its own, with the study."""
    settings = Settings(home_dir=folder)
    upgrade(settings.database)
    engine = connect(settings.database)
    write_past(engine, STUDY, trials, REPORTS)
    engine.dispose()
    port = free_port()
    with RedisServer(folder) as redis:
        places = {"TRIALYARD_HOME_DIR": str(folder), "TRIALYARD_REDIS_URL": redis.url}
        command = [sys.executable, "-m", "trialyard", "serve", "--port", str(port)]
        with process(command, os.environ | places, f"http://127.0.0.1:{port}", "/healthz") as url:
            yield url


@contextmanager
def their_serving(folder: Path, trials: int) -> Iterator[str | None]:
    """The same of optuna-dashboard; None where it is not installed."""
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        yield None
        return
    address, port = f"sqlite:///{folder / 'optuna.db'}", free_port()
    write_peers_past(("rdb", address), STUDY, trials)
    command = [str(program), address, "--port", str(port)]
    with process(command, dict(os.environ), f"http://127.0.0.1:{port}", "/dashboard/") as url:
        yield url


@contextmanager
def process(command: list[str], environment: dict[str, str], url: str, path: str) -> Iterator[str]:
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(url + path):
            if server.poll() is not None:
                raise SystemExit(f"{command[0]} ended with {server.returncode}")
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def visit(browser: Browser, url: str, path: str, points: str, all_there: str | None = None) -> Visit:
    """Open the study in a window that has shown the list, as a person does who comes from there."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url, timeout=1000 * PATIENCE)
    page.wait_for_timeout(1500)  # in which a person finds the study, and the browser fetches what it will need
    found = Visit()
    page.on("requestfinished", found.note)
    begin = time.perf_counter()
    page.goto(url + path, wait_until="commit")
    _await_points(page, points)
    found.first_figure = time.perf_counter() - begin
    if all_there is not None:
        page.wait_for_function(all_there, timeout=1000 * PATIENCE)
        found.all_figures = time.perf_counter() - begin
    context.close()
    return found


def _await_points(page: Page, points: str) -> None:
    page.wait_for_selector(points, state="attached", timeout=1000 * PATIENCE)


def medians(visits: list[Visit]) -> dict[str, float]:
    rounds = [visit.figures for visit in visits]
    return {name: round(statistics.median(each[name] for each in rounds), 2) for name in rounds[0]}


def tell(trials: int, found: dict[str, dict[str, float]]) -> None:
    names = list(found["ours"])
    table = Table("", *names, box=None)
    for who, figures in found.items():
        table.add_row(who, *(f"{figures[name]:,.2f}" if name in figures else "" for name in names))
    Console().print(table)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "page", **machine, "trials": trials, "reports": REPORTS, "pages": found}))


if __name__ == "__main__":
    main()
