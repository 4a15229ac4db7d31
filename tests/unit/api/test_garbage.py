"""Python's garbage collector in the server: a look at all that it has loaded would take a fifth of a second."""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Iterator

import pytest
import uvicorn

from api.importances import Importances
from api.main import serve
from store.settings import Settings
from tests.api_server import on_sqlite

MANY = 20_000  # objects; those of the server alone are 300,000


@pytest.fixture(autouse=True)
def the_tests_own_collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@on_sqlite
def test_the_server_begins_with_hardly_anything_to_look_through(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(uvicorn, "run", lambda *_, **__: seen.append(len(gc.get_objects())))
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    serve(settings)

    assert seen[0] < MANY < gc.get_freeze_count()


def test_what_importances_load_beside_the_requests_is_not_looked_through_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gc.collect()
    monkeypatch.delitem(sys.modules, "optuna.importance", raising=False)
    Importances().warm_up()

    while gc.get_freeze_count() == 0:  # until the test's time is over
        time.sleep(0.005)
    assert "optuna.importance" in sys.modules
