"""Waiting for what follows a search that somebody takes up again, and cancels."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from rich.console import Console

from trialyard.client import Client
from trialyard.ensembles import follow_refit
from trialyard.rescoring import follow_race
from trialyard.resources import Study

BEST = {"number": 0, "values": {"val/loss": 0.5}, "parameters": {}}
OBJECTIVE = {"objective": {"metric": "val/loss", "direction": "minimize"}}


def study(rescoring: str | None, refit: str | None) -> dict[str, Any]:
    own = None if refit is None else {"state": refit, "ensemble": None}
    plain = {"name": "s", "created_at": "2026-01-01T00:00:00Z", "definition": OBJECTIVE, "counts": {}, "best": BEST}
    return plain | {"state": "COMPLETE", "rescoring": rescoring, "refit": own}


@pytest.mark.parametrize("follow", [follow_race, follow_refit])
def test_the_waiting_ends_when_nothing_will_follow(follow: Callable[..., None]) -> None:
    stands = [study("RUNNING", "WAITING"), study("WAITING", "WAITING"), study(None, None)]

    def answer(request: httpx.Request) -> httpx.Response:
        is_study = request.url.path.endswith("/s")
        return httpx.Response(200, json=stands.pop(0) if is_study else {"items": [], "next_cursor": None})

    with Client(transport=httpx.MockTransport(answer)) as client:
        found = Study.model_validate(stands[0])
        follow(client, found, Console(file=io.StringIO()), lambda: None, lambda _: None)

    assert stands == []
