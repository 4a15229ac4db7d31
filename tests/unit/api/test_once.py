"""Requests that come again with the same Idempotency-Key, at routes whose work is not their own transaction."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store.models import IdempotencyKeyRow
from tests.api_server import ApiServer, on_sqlite


@pytest.fixture
def study(server: ApiServer) -> Iterator[ApiServer]:
    server.create("s", budget={"trials": 9})
    with server.scheduling():
        yield server


def send(server: ApiServer, path: str, body: Any, key: str = "once") -> httpx.Response:
    return server.http.post(f"/api/v1/studies/s/{path}", json=body, headers={"Idempotency-Key": key})


@pytest.mark.parametrize(
    ("path", "body"),
    [("ask", {"worker": "w", "count": 2}), ("trials", {"parameters": {"x": 0.5}})],
)
def test_a_repeat_is_answered_alike_and_changes_nothing(study: ApiServer, path: str, body: Any) -> None:
    first, again, other = send(study, path, body), send(study, path, body), send(study, path, body, "another")

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert other.json() != first.json()
    made = {"ask": 4, "trials": 2}[path]
    assert len(study.get("s/trials")["items"]) == made


def test_repeats_at_once_are_carried_out_once(study: ApiServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(study, "trials", {"parameters": {"x": 0.5}}), range(8)))

    assert len(study.get("s/trials")["items"]) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    refused = [answer for answer in answers if answer.status_code == 409]
    assert all("still being carried out" in answer.json()["detail"] for answer in refused)
    assert send(study, "trials", {"parameters": {"x": 0.5}}).json()["number"] == 0


@on_sqlite
def test_a_key_goes_with_one_request(study: ApiServer) -> None:
    send(study, "trials", {"parameters": {"x": 0.5}})

    for other in (send(study, "trials", {"parameters": {"x": 0.6}}), send(study, "ask", {"worker": "w"})):
        assert other.status_code == 422
        assert "came with another request" in other.json()["detail"]


@on_sqlite
def test_a_change_that_comes_again_after_what_it_led_to_is_over_is_answered_alike(study: ApiServer) -> None:
    def change(trials: int, key: str) -> httpx.Response:
        body = {"budget": {"trials": trials, "max_failed": None}}
        return study.http.patch("/api/v1/studies/s", json=body, headers={"Idempotency-Key": key})

    def run_to_the_end() -> None:
        for handout in study.post("s/ask", {"worker": "w", "count": 9}).json()["items"]:
            said = {"token": handout["token"], "state": "complete", "metrics": {"val/loss": 0.5}}
            study.post(f"s/trials/{handout['number']}/tell", said)
        assert study.get("s")["state"] == "COMPLETE"

    run_to_the_end()
    first = change(12, "twelve")
    assert (first.status_code, first.json()["state"]) == (200, "RUNNING")
    run_to_the_end()

    again, other = change(12, "twelve"), change(12, "another")

    assert (again.status_code, again.json()) == (200, first.json())
    assert (other.status_code, study.get("s")["state"]) == (409, "COMPLETE")
    assert other.json()["detail"].endswith("12 trials are made, budget.trials is 12; raise it")


@on_sqlite
def test_what_was_refused_or_came_to_nothing_may_be_sent_again(study: ApiServer) -> None:
    send(study, "trials", {"parameters": {"x": 7}})
    assert send(study, "trials", {"parameters": {"x": 0.5}}).status_code == 201

    study.post("s/pause")
    assert send(study, "ask", {"worker": "w"}, "asked").json()["items"] == []
    study.post("s/resume")
    assert len(send(study, "ask", {"worker": "w"}, "asked").json()["items"]) == 1


@on_sqlite
def test_a_request_whose_server_died_is_carried_out_after_a_while(study: ApiServer) -> None:
    first = send(study, "trials", {"parameters": {"x": 0.5}})
    with Session(study.engine) as session:
        session.execute(update(IdempotencyKeyRow).values(status=0))  # as if it had not come to its end
        session.commit()
        refused = send(study, "trials", {"parameters": {"x": 0.5}})
        began = session.scalars(select(IdempotencyKeyRow.created_at)).one()
        session.execute(update(IdempotencyKeyRow).values(created_at=began - timedelta(minutes=10)))
        session.commit()

    assert refused.status_code == 409
    again = send(study, "trials", {"parameters": {"x": 0.5}})
    assert (again.status_code, again.json()["number"]) == (201, first.json()["number"] + 1)


@on_sqlite
def test_a_key_has_a_length(study: ApiServer) -> None:
    refused = send(study, "ask", {"worker": "w"}, "a" * 256)
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "Idempotency-Key")


@on_sqlite
def test_the_documentation_tells_of_the_key(server: ApiServer) -> None:
    paths = server.http.get("/openapi.json").json()["paths"]
    for path in ("/ask", "/trials", "/ensembles", "/rescores", "/trials/{number}/retry"):
        names = [each["name"] for each in paths[f"/api/v1/studies/{{name}}{path}"]["post"]["parameters"]]
        assert "Idempotency-Key" in names, path
    assert "Idempotency-Key" in [each["name"] for each in paths["/api/v1/studies/{name}"]["patch"]["parameters"]]
