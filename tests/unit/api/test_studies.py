"""Studies over REST: made, listed, read, moved, deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, update

from store.artifacts import Artifacts
from store.messages import AttemptKey
from store.models import EventRow, StudyRow, StudyState, TrialState
from store.session import reads, writes
from tests.api_server import EPOCH, ApiServer, definition, on_sqlite

TRAINING = {
    "trial": {"kind": "train", "data": {"source": "sklearn:digits"}, "epochs": 3},
    "objective": {"metric": "val/accuracy", "direction": "maximize"},
    "parameters": {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}},
}


def force(server: ApiServer, state: StudyState) -> None:
    with writes(server.engine).begin() as session:
        ended_at = EPOCH if state.ended else None
        session.execute(update(StudyRow).values(state=str(state), ended_at=ended_at))


def states_in_the_log(server: ApiServer) -> list[Any]:
    with reads(server.engine)() as session:
        events = session.scalars(select(EventRow).order_by(EventRow.sequence)).all()
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [event.body["state"] for event in events if event.kind == "study"]


@on_sqlite
def test_a_study_is_stored_with_its_defaults_and_waits_for_its_preflight(server: ApiServer) -> None:
    answer = server.http.post("/api/v1/studies", json=definition("digits", **TRAINING))

    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/v1/studies/digits"
    study = answer.json()
    assert (study["state"], study["started_at"], study["best"], study["last_event"]) == ("PREPARING", None, None, 1)
    assert study["definition"]["duplicates"] == "allow"
    assert study["created_at"].endswith("Z")
    none = dict.fromkeys(["waiting", "queued", "running", "paused", "complete", "pruned", "failed", "cancelled"], 0)
    assert study["counts"] == none
    assert server.get("digits") == study


@on_sqlite
def test_the_page_of_an_external_study_says_how_its_trials_are_handed_out(server: ApiServer) -> None:
    answer = server.http.post("/api/v1/studies", json=definition("mine", enqueue=[{"x": 0.5}]))
    assert answer.status_code == 201, answer.text

    page = server.http.get("/studies/mine").text

    assert "/api/v1/studies/mine/ask" in page
    assert "trialyard worker" not in page
    assert "trials given by its file: 1" in page


@on_sqlite
def test_an_external_study_needs_no_preflight(server: ApiServer) -> None:
    server.create("mine")

    assert server.get("mine")["state"] == "RUNNING"
    assert server.get("mine")["started_at"] is not None


@on_sqlite
def test_a_name_is_given_once(server: ApiServer) -> None:
    server.create("s")

    again = server.http.post("/api/v1/studies", json=definition("s"))

    assert again.status_code == 409
    assert "there is a study named 's' already" in again.json()["detail"]
    assert "(`trialyard edit s`)" in again.json()["detail"]


@pytest.mark.parametrize("trials", [0, 1])
@on_sqlite
def test_a_name_of_a_study_that_goes_on_no_more_is_given_with_the_ways_that_are_left(
    server: ApiServer, trials: int
) -> None:
    server.create("s")
    server.add_trials([0.5] * trials)
    server.post("s/cancel")

    told = server.http.post("/api/v1/studies", json=definition("s")).json()["detail"]

    ways = {
        0: "CANCELLED without a trial; give this one another name, or delete that one (`trialyard delete s`)",
        1: "CANCELLED for good; give this one another name (warm_start: {study: s} learns from its trials), "
        "or delete that one (`trialyard delete s`)",
    }
    assert told == f"there is a study named 's' already, {ways[trials]}"


def test_of_requests_for_one_name_at_once_one_succeeds(server: ApiServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.http.post("/api/v1/studies", json=definition()).status_code, range(8)))

    assert sorted(answers) == [201] + 7 * [409]


@on_sqlite
def test_a_wrong_definition_is_explained_and_nothing_is_stored(server: ApiServer) -> None:
    answer = server.http.post("/api/v1/studies", json=definition(parameters={"x": {"low": 1.0, "high": 0.0}}, nam=1))

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert [error["path"].split(".")[0] for error in problem["errors"]] == ["parameters", "nam"]
    assert problem["errors"][1]["hint"] == "did you mean 'name'?"
    assert server.http.get("/api/v1/studies").json() == {"items": [], "next_cursor": None}


def test_a_repeat_with_an_idempotency_key_gets_the_same_answer(server: ApiServer) -> None:
    key = {"Idempotency-Key": "once"}
    first = server.http.post("/api/v1/studies", json=definition(sampler={"name": "tpe"}), headers=key)
    server.post("s/pause")

    again = server.http.post("/api/v1/studies", json=definition(sampler={"name": "tpe"}), headers=key)
    other = server.http.post("/api/v1/studies", json=definition("other"), headers=key)

    assert (again.status_code, again.json(), again.headers["location"]) == (201, first.json(), "/api/v1/studies/s")
    assert other.status_code == 422
    assert "came with another request" in other.json()["detail"]
    assert [study["name"] for study in server.http.get("/api/v1/studies").json()["items"]] == ["s"]


def test_repeats_at_once_with_an_idempotency_key_make_one_study(server: ApiServer) -> None:
    def send(_: int) -> Any:
        answer = server.http.post("/api/v1/studies", json=definition(), headers={"Idempotency-Key": "once"})
        return answer.status_code, answer.json()["definition"], answer.json()["created_at"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))

    assert answers[0][0] == 201
    assert answers.count(answers[0]) == 8


def test_the_list_has_the_newest_first_page_by_page(server: ApiServer) -> None:
    for number in range(5):
        server.create(f"s{number}")
    server.post("s1/pause")

    pages, cursor = [], {}
    while cursor is not None:
        page = server.http.get("/api/v1/studies", params={"limit": 2, **cursor}).json()
        pages.append([study["name"] for study in page["items"]])
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None

    assert pages == [["s4", "s3"], ["s2", "s1"], ["s0"]]
    paused = server.http.get("/api/v1/studies", params={"state": "paused, Complete"}).json()["items"]
    assert [study["name"] for study in paused] == ["s1"]


@pytest.mark.parametrize(
    ("verb", "state", "status", "after"),
    [
        ("pause", StudyState.RUNNING, 200, "PAUSED"),
        ("pause", StudyState.PAUSED, 200, "PAUSED"),
        ("pause", StudyState.PREPARING, 409, "PREPARING"),
        ("pause", StudyState.COMPLETE, 409, "COMPLETE"),
        ("resume", StudyState.PAUSED, 200, "RUNNING"),
        ("resume", StudyState.RUNNING, 200, "RUNNING"),
        ("resume", StudyState.CANCELLED, 409, "CANCELLED"),
        ("cancel", StudyState.PREPARING, 200, "CANCELLED"),
        ("cancel", StudyState.PAUSED, 200, "CANCELLED"),
        ("cancel", StudyState.CANCELLED, 200, "CANCELLED"),
        ("cancel", StudyState.FAILED, 409, "FAILED"),
    ],
)
@on_sqlite
def test_a_study_moves_only_where_it_can(
    server: ApiServer, verb: str, state: StudyState, status: int, after: str
) -> None:
    server.create("s")
    force(server, state)

    answer = server.post(f"s/{verb}")

    assert answer.status_code == status, answer.text
    study = server.get("s")
    assert (study["state"], study["ended_at"] is not None) == (after, after in ("COMPLETE", "CANCELLED", "FAILED"))
    moved = [after] if status == 200 and after != state else []
    assert states_in_the_log(server) == ["RUNNING", *moved]
    if status == 409:
        assert str(state) in answer.json()["detail"]


def test_moves_are_logged_in_order(server: ApiServer) -> None:
    server.create("s")
    for verb in ("pause", "resume", "pause", "cancel"):
        assert server.post(f"s/{verb}").status_code == 200

    assert states_in_the_log(server) == ["RUNNING", "PAUSED", "RUNNING", "PAUSED", "CANCELLED"]


@on_sqlite
def test_a_study_that_is_not_there_cannot_be_moved_or_deleted(server: ApiServer) -> None:
    assert [server.post(f"none/{verb}").status_code for verb in ("pause", "resume", "cancel")] == [404, 404, 404]
    assert server.http.delete("/api/v1/studies/none").status_code == 404


def test_a_study_is_deleted_with_all_that_belongs_to_it(server: ApiServer) -> None:
    server.create("s")
    server.create("other")
    server.add_trials([0.5, 0.4])
    server.add_trials([0.1], study="other")
    server.add_attempt(0, 1, [0.6, 0.5])
    artifacts = Artifacts(server.settings.artifacts)
    folder = artifacts.attempt(AttemptKey(server.study_id(), 0, 1))
    folder.write("log.txt", b"hello")
    server.post("s/cancel")

    assert server.http.delete("/api/v1/studies/s").status_code == 204

    assert server.http.get("/api/v1/studies/s").status_code == 404
    assert folder.names() == []
    assert server.get("other")["counts"]["complete"] == 1
    server.create("s")
    assert server.get("s/trials")["items"] == []


def test_a_study_is_not_deleted_while_it_or_a_trial_of_it_runs(server: ApiServer) -> None:
    server.create("s")

    running = server.http.delete("/api/v1/studies/s")
    with server.scheduling():
        server.post("s/ask", {"worker": "w"}).raise_for_status()
        server.post("s/pause")
        holding = server.http.delete("/api/v1/studies/s")

    assert (running.status_code, holding.status_code) == (409, 409)
    assert "cancel or pause it" in running.json()["detail"]
    assert "still running" in holding.json()["detail"]


def test_the_best_trial_in_short_and_the_counts_are_those_of_the_trials(server: ApiServer) -> None:
    server.create("s")
    server.add_trials([0.5, 0.25, None, 0.25, TrialState.RUNNING])

    study = server.get("s")

    assert study["counts"] | {"complete": 3, "failed": 1, "running": 1} == study["counts"]
    assert (study["best"]["number"], study["best"]["values"]) == (1, {"val/loss": 0.25})
    assert study["best"]["parameters"] == server.get("s/trials/1")["parameters"]


@on_sqlite
@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("enqueue", "POST /api/v1/studies/{name}/trials adds trials of given parameters"),
        ("objective", "begin another study"),
        ("name", "a study keeps its name"),
    ],
)
def test_what_cannot_be_changed_says_what_to_do_instead(server: ApiServer, key: str, hint: str) -> None:
    server.create("s")

    refused = server.http.patch("/api/v1/studies/s", json={key: [{"x": 0.5}]})

    assert refused.status_code == 422
    assert refused.json()["errors"] == [{"path": key, "message": "cannot be changed", "hint": hint}]


@on_sqlite
@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"priority": -1}, "priority", "must be at least 1, and is -1"),
        ({"budget": 5}, "budget", "must be a mapping of keys to values, not 5"),
        ({"budget": {"trails": 9}}, "budget.trails", "is no key that is known here"),
        ({"budget": {"retries": 9}}, "budget.retries", "cannot be changed"),
    ],
)
def test_what_can_be_changed_and_is_wrong_says_so(server: ApiServer, change: Any, path: str, message: str) -> None:
    server.create("s")

    refused = server.http.patch("/api/v1/studies/s", json=change)

    [error] = refused.json()["errors"]
    assert (refused.status_code, error["path"], error["message"]) == (422, path, message)
