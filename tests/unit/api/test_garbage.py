"""Python's garbage collector in the server: a look at all that it has loaded would take a fifth of a second.

In processes of their own: what is looked through is all that a process holds.
"""

from __future__ import annotations

import json
import subprocess
import sys

from store.settings import Settings
from tests.api_server import on_sqlite

MANY = 20_000  # objects; those of the server alone are 300,000

SERVED = """
import gc, json, sys
import uvicorn
from api.main import serve
from store.settings import Settings

uvicorn.run = lambda *_, **__: print(len(gc.get_objects()), gc.get_freeze_count())
serve(Settings(**json.loads(sys.argv[1])))
"""
WARMED = """
import gc, sys, time
from api.importances import Importances

Importances().warm_up()
while gc.get_freeze_count() == 0:
    time.sleep(0.005)
print("optuna.importance" in sys.modules)
"""


def output_of(code: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()


@on_sqlite
def test_the_server_begins_with_hardly_anything_to_look_through(settings: Settings) -> None:
    left, frozen = map(int, output_of(SERVED, json.dumps(settings.model_dump(mode="json"))))

    assert left < MANY < frozen


def test_what_importances_load_beside_the_requests_is_not_looked_through_either() -> None:
    assert output_of(WARMED) == ["True"]
