"""Trials, reports, logs, curves, the best and exports over REST."""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import Any

import pytest

from store.artifacts import Artifacts
from store.curves import MOST_POINTS_A_CURVE
from store.messages import AttemptKey
from store.models import TrialState
from tests.api_server import ApiServer, on_sqlite

# Trial n took n seconds. Trial 2 failed without a value, trial 5 still runs.
VALUES = [0.5, 0.25, None, 0.75, 0.25, TrialState.RUNNING]


@pytest.fixture
def study(server: ApiServer) -> ApiServer:
    server.create("s")
    server.add_trials(VALUES)
    return server


def numbers(server: ApiServer, **query: Any) -> list[int]:
    """The trials of all pages, two to a page."""
    found: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.get("s/trials", limit=2, **query, **cursor)
        found += [trial["number"] for trial in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_trials_are_sorted_over_all_pages_with_those_without_a_key_last(study: ApiServer) -> None:
    assert {sort: numbers(study, sort=sort) for sort in ("number", "-number", "value", "-value")} == {
        "number": [0, 1, 2, 3, 4, 5],
        "-number": [5, 4, 3, 2, 1, 0],
        "value": [1, 4, 0, 3, 2, 5],  # 0.25, 0.25, 0.5, 0.75, and two without one
        "-value": [3, 0, 1, 4, 2, 5],
    }
    assert {sort: numbers(study, sort=sort) for sort in ("duration", "-duration", "ended_at", "-started_at")} == {
        "duration": [0, 1, 2, 3, 4, 5],  # 0 s to 4 s, and one that has not ended
        "-duration": [4, 3, 2, 1, 0, 5],
        "ended_at": [0, 1, 2, 3, 4, 5],
        "-started_at": [0, 1, 2, 3, 4, 5],  # all at once: ties go by number
    }


def test_trials_are_filtered_by_any_of_some_states(study: ApiServer) -> None:
    assert numbers(study, state="failed,Running") == [2, 5]
    assert numbers(study, state="complete", sort="-value") == [3, 0, 1, 4]


def test_a_trial_shows_its_attempts(study: ApiServer) -> None:
    study.add_attempt(1, 1, [0.5])
    study.add_attempt(1, 2, [0.25])

    trial = study.get("s/trials/1")

    assert (trial["state"], trial["values"], trial["ended_at"]) == (
        "COMPLETE",
        {"val/loss": 0.25},
        "2026-01-01T00:00:01Z",
    )
    assert [(attempt["attempt"], attempt["ended"]) for attempt in trial["attempts"]] == [(1, "lost"), (2, "lost")]
    assert study.get("s/trials/2")["reason"] == "it diverged"
    assert study.http.get("/api/v1/studies/s/trials/77").status_code == 404


def test_reports_come_by_attempt_and_step(study: ApiServer) -> None:
    study.add_attempt(0, 1, [0.9, 0.8])
    study.add_attempt(0, 2, [0.7], first=1)

    page = study.get("s/trials/0/reports", limit=2)
    rest = study.get("s/trials/0/reports", limit=2, cursor=page["next_cursor"])

    reports = [(report["attempt"], report["step"], report["metrics"]["val/loss"]) for report in page["items"]]
    assert reports == [(1, 0, 0.9), (1, 1, 0.8)]
    assert [(report["attempt"], report["step"]) for report in rest["items"]] == [(2, 1)]
    assert rest["next_cursor"] is None


def test_a_curve_over_several_attempts_has_the_newest_value_of_each_step(study: ApiServer) -> None:
    study.add_attempt(0, 1, [0.9, 0.8, 0.7])
    study.add_attempt(0, 2, [0.65, 1 / 3], first=2)
    study.add_attempt(3, 1, [0.5])

    curves = study.get("s/curves", metric="val/loss")

    assert curves == {
        "items": [
            {"number": 0, "state": "COMPLETE", "steps": [0, 1, 2, 3], "values": [0.9, 0.8, 0.65, 0.333333]},
            {"number": 3, "state": "COMPLETE", "steps": [0], "values": [0.5]},
        ],
        "next_cursor": None,
    }


def test_curves_come_page_by_page_or_by_number(study: ApiServer) -> None:
    for number in (0, 1, 3):
        study.add_attempt(number, 1, [0.5])

    first = study.get("s/curves", metric="val/loss", limit=2)
    second = study.get("s/curves", metric="val/loss", limit=2, cursor=first["next_cursor"])

    assert [[curve["number"] for curve in page["items"]] for page in (first, second)] == [[0, 1], [3]]
    assert second["next_cursor"] is None
    assert [curve["number"] for curve in study.get("s/curves", metric="val/loss", **{"from": 1})["items"]] == [1, 3]
    assert [curve["number"] for curve in study.get("s/curves", metric="epoch", numbers="3,0,4")["items"]] == [0, 3]
    assert study.get("s/curves", metric='no "such" metric')["items"] == []


@on_sqlite
def test_a_very_long_curve_is_thinned_and_keeps_its_end(study: ApiServer) -> None:
    study.add_attempt(0, 1, [float(step) for step in range(2 * MOST_POINTS_A_CURVE + 1)])

    [curve] = study.get("s/curves", metric="val/loss")["items"]

    # 2001 points are thinned by the least stride that leaves at most 1000: every third one, counted from the last
    assert (len(curve["steps"]), curve["steps"][0], curve["steps"][-1]) == (667, 2, 2000)
    assert curve["values"] == [float(step) for step in curve["steps"]]


def test_the_best_trial_comes_with_what_trains_it_again(server: ApiServer) -> None:
    sections: dict[str, Any] = {
        "trial": {"kind": "train", "data": {"source": "sklearn:digits"}, "epochs": 3},
        "parameters": {"regularization.dropout": {"low": 0.0, "high": 0.9}},
    }
    server.create("s", **{key.replace("regularization.dropout", "x"): value for key, value in sections.items()})
    missing = server.http.get("/api/v1/studies/s/best")
    server.add_trials([0.5, 0.25])
    server.add_attempt(1, 1, [0.25])

    best = server.get("s/best")

    assert missing.status_code == 404
    assert "no trial of the study 's' is complete yet" in missing.json()["detail"]
    assert (best["number"], best["values"]) == (1, {"val/loss": 0.25})
    assert best["trial"]["epochs"] == 3
    assert best["artifacts"].endswith(f"/studies/{server.study_id()}/trials/1/attempt-1")


def test_the_best_of_a_maximized_objective_is_the_largest(server: ApiServer) -> None:
    server.create("s", objective={"metric": "val/loss", "direction": "maximize"})
    server.add_trials([0.5, 0.75, 0.75, None])

    assert server.get("s/best")["number"] == 1


@on_sqlite
@pytest.mark.parametrize("name", ["log.txt", "log.txt.gz"])  # while it grows, and afterwards
def test_the_log_shown_is_the_end_of_the_newest_attempts_in_whole_lines(study: ApiServer, name: str) -> None:
    study.add_attempt(0, 1, [])
    study.add_attempt(0, 2, [])
    artifacts = Artifacts(study.settings.artifacts)
    artifacts.attempt(AttemptKey(study.study_id(), 0, 1)).write("log.txt", "früher\n".encode())
    lines = "".join(f"epoch {number}\n" for number in range(10_000))
    kept = gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode()
    artifacts.attempt(AttemptKey(study.study_id(), 0, 2)).write(name, kept)

    newest = study.http.get("/api/v1/studies/s/trials/0/logs")
    first = study.http.get("/api/v1/studies/s/trials/0/logs", params={"attempt": 1})
    whole = study.http.get("/api/v1/studies/s/trials/0/logs", params={"whole": True})

    assert (whole.text, whole.headers["content-type"]) == (lines, "text/plain; charset=utf-8")
    assert newest.headers["content-type"] == "text/plain; charset=utf-8"
    assert lines.endswith(newest.text)
    assert newest.text.startswith("epoch ")
    assert 60_000 < len(newest.text) <= 65_536
    assert first.text == "früher\n"
    for path in ("0/logs?attempt=3", "1/logs", "77/logs"):
        assert study.http.get(f"/api/v1/studies/s/trials/{path}").status_code == 404


@on_sqlite
@pytest.mark.parametrize("number", ["0.0", "+0", "1_0", " 1", "x", "-1"])
def test_what_is_no_number_of_a_trial_is_not_there(study: ApiServer, number: str) -> None:
    for address in (f"/api/v1/studies/s/trials/{number}", f"/api/v1/studies/s/ensembles/{number}"):
        assert study.http.get(address).status_code == 404
    assert study.http.get("/api/v1/studies/s/trials/0").status_code == 200


def test_all_trials_are_exported(study: ApiServer) -> None:
    study.add_attempt(2, 1, [])

    table = study.http.get("/api/v1/studies/s/export", params={"format": "csv"})
    document = study.http.get("/api/v1/studies/s/export", params={"format": "json"})

    assert table.headers["content-disposition"] == 'attachment; filename="s.csv"'
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["val/loss"] for row in rows] == ["0.5", "0.25", "", "0.75", "0.25", ""]
    assert (rows[2]["state"], rows[2]["attempts"], rows[2]["reason"]) == ("FAILED", "1", "it diverged")
    assert float(rows[0]["x"]) == study.get("s/trials/0")["parameters"]["x"]
    whole = json.loads(document.text)
    assert whole["study"] == study.get("s")
    assert whole["trials"] == study.get("s/trials")["items"]
    assert study.http.get("/api/v1/studies/s/export", params={"format": "xml"}).status_code == 422
    for form, name, head in (("parquet", "s.parquet", b"PAR1"), ("optuna", "s.journal", b'{"op_code":0')):
        binary = study.http.get("/api/v1/studies/s/export", params={"format": form})
        assert binary.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert binary.content.startswith(head)


@on_sqlite
def test_an_empty_study_is_exported_too(server: ApiServer) -> None:
    server.create("s")

    assert json.loads(server.http.get("/api/v1/studies/s/export", params={"format": "json"}).text)["trials"] == []


@on_sqlite
def test_a_cursor_is_good_only_for_the_list_that_made_it(study: ApiServer) -> None:
    by_value = study.get("s/trials", sort="value", limit=2)["next_cursor"]

    def status(**query: str) -> int:
        return study.http.get("/api/v1/studies/s/trials", params=query).status_code

    assert status(sort="value", cursor=by_value) == 200
    others = [{"sort": "-value"}, {"sort": "value", "state": "complete"}, {}]
    assert [status(cursor=by_value, **other) for other in others] == [400, 400, 400]
    garbage = ["", "x", "!!!", "WyJ0cmlhbHMiXQ", by_value[:-3], "é" * 9, "AAAA" * 400]
    assert [status(cursor=text, sort="value") for text in garbage] == [400] * len(garbage)
    assert study.http.get("/api/v1/studies", params={"cursor": by_value}).status_code == 400
