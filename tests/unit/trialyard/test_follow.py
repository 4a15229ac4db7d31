"""Watching a study, against a server that tells its events as the test says."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import httpx
import pytest
from rich.console import Console

from trialyard import follow as module
from trialyard.client import Client
from trialyard.errors import NotFound, Unreachable
from trialyard.follow import follow
from trialyard.resources import Study

DEFINITION = {"objective": {"metric": "loss", "direction": "minimize"}, "budget": {"trials": 2}}


def study(state: str) -> dict[str, object]:
    return {
        "name": "s",
        "state": state,
        "created_at": "2026-01-01T00:00:00Z",
        "definition": DEFINITION,
        "counts": {"complete": 2 if state == "COMPLETE" else 0},
    }


def event(position: int, kind: str, /, **body: object) -> bytes:
    return f"id: {position}\nevent: {kind}\ndata: {json.dumps(body)}\n\n".encode()


EVENTS = b"".join(
    [
        event(1, "study", state="RUNNING"),
        event(2, "trial", number=0, state="RUNNING", values=None),
        event(3, "report", number=0, attempt=1, step=1, metrics={"loss": 0.5}),
        event(4, "trial", number=0, state="COMPLETE", values={"loss": 0.25}),
        event(5, "trial", number=1, state="PRUNED", values=None),
        event(6, "study", state="COMPLETE"),
    ]
)


def client_of(stream: Callable[[httpx.Request], httpx.Response], state: str = "COMPLETE") -> Client:
    def answer(request: httpx.Request) -> httpx.Response:
        is_stream = request.url.path.endswith("/events")
        return stream(request) if is_stream else httpx.Response(200, json=study(state))

    return Client(transport=httpx.MockTransport(answer))


def told(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=EVENTS)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOMENT_SECONDS", 0.01)
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)


def test_watching_ends_with_the_study_and_returns_it_as_it_is_then(console: Console) -> None:
    ended = follow(client_of(told), Study.model_validate(study("RUNNING")), console, lambda: None)

    assert (ended.state, ended.counts.complete) == ("COMPLETE", 2)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[-1].startswith("s: 2/2 trials · 1 complete, 1 pruned · best loss 0.25 (trial 0)")


def test_each_way_in_which_trials_fail_is_told_once_and_stays(console: Console) -> None:
    said = [
        (0, "exit code 2; its last lines:\nusage\nerror: no --lr"),
        (1, "exit code 1:\nerror: no --lr"),
        (2, "killed"),
        (3, "the command ran longer than its timeout of 1 s; its last lines:\nepoch 3 loss 1.0"),
    ]
    failures = [event(at, "trial", number=at, state="FAILED", values=None, reason=why) for at, why in said]

    def stream(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"".join([*failures, event(9, "study", state="COMPLETE")]))

    follow(client_of(stream), Study.model_validate(study("RUNNING")), console, lambda: None)

    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line for line in lines if line.startswith("trial")] == [
        "trial 0 failed: error: no --lr",
        "trial 2 failed: killed",
        "trial 3 failed: the command ran longer than its timeout of 1 s",
    ]


def test_a_terminal_shows_it_in_place_and_is_left_clean() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)

    follow(client_of(told), Study.model_validate(study("RUNNING")), console, lambda: None)

    screen = console.file.getvalue()  # type: ignore[attr-defined]
    assert "http://127.0.0.1:8080/studies/s" in screen
    assert "2/2" in screen
    assert screen.endswith("\x1b[2K")  # the last line that was drawn is erased again


def test_what_happens_meanwhile_ends_the_watching(console: Console) -> None:
    def child_dies() -> None:
        raise RuntimeError("the scheduler died")

    with pytest.raises(RuntimeError, match="the scheduler died"):
        follow(client_of(told), Study.model_validate(study("RUNNING")), console, child_dies)


def test_a_deleted_study_ends_the_watching_with_its_error(console: Console) -> None:
    def gone(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"detail": "there is no study named 's'"})

    with pytest.raises(NotFound, match="there is no study named 's'"):
        follow(client_of(gone), Study.model_validate(study("RUNNING")), console, lambda: None)


def test_a_study_whose_events_do_not_come_is_seen_to_end_all_the_same(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)

    def nothing(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(204)

    assert follow(client_of(nothing), Study.model_validate(study("RUNNING")), console, lambda: None).ended


def test_a_server_that_stays_away_is_given_up(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("trialyard.connection.RETRY_SECONDS", (0.01,))

    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Unreachable), Client(transport=httpx.MockTransport(away)) as client:
        follow(client, Study.model_validate(study("RUNNING")), console, lambda: None)
