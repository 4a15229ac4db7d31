"""The SDK against a server that answers as the test says."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import torch

from trialyard import connection
from trialyard.client import Client
from trialyard.errors import ApiError, Conflict, InvalidRequest, NotFound, ServerError, Unauthorized, Unreachable
from trialyard.events import parse_events
from trialyard.resources import Counts, Handout

STUDY = {
    "name": "digits",
    "state": "RUNNING",
    "created_at": "2026-01-01T00:00:00Z",
    "definition": {"objective": {"metric": "val/accuracy", "direction": "maximize"}, "budget": {"trials": 40}},
    "counts": {"running": 2, "complete": 31, "pruned": 6, "failed": 1},
    "best": {"number": 7, "values": {"val/accuracy": 0.97}, "parameters": {"optimizer.lr": 0.01}},
}


HANDOUT = Handout(number=3, attempt=1, token="1.3.1", parameters={})


class Server:
    """Answers each request with the next thing of a list: a response, or an error of the connection."""

    def __init__(self, *answers: httpx.Response | httpx.TransportError | Callable[[httpx.Request], httpx.Response]):
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def client(self, **options: Any) -> Client:
        return Client("http://server/", transport=httpx.MockTransport(self), **options)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RETRY_SECONDS", (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("address", "verifies"),
    [("https://server", True), ("HTTPS://server", True), ("http://server", False), ("HTTP://server", False)],
)
def test_certificates_are_verified_wherever_there_are_any(
    monkeypatch: pytest.MonkeyPatch, address: str, verifies: bool
) -> None:
    asked: list[object] = []
    made = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: asked.append(options["verify"]) or made(**options))

    Client(address).close()

    assert asked == [verifies]


def test_numbers_that_json_cannot_carry_are_refused_by_their_path_before_anything_is_sent() -> None:
    server = Server()
    parameters = {"lr": {"low": float("nan"), "high": 1.0}, "k": {"values": [1.0, float("inf")]}}

    with pytest.raises(InvalidRequest) as refused:
        server.client().create_study({"name": "s", "parameters": parameters})

    assert [(problem.path, problem.message) for problem in refused.value.errors] == [
        ("parameters.lr.low", "is NaN"),
        ("parameters.k.values.1", "is infinite"),
    ]
    assert server.requests == []


def test_numbers_of_numpy_and_torch_travel_as_what_they_are() -> None:
    server = Server(httpx.Response(200, json={"decision": "continue"}))
    metrics = {"loss": np.float32(0.5), "accuracy": torch.tensor(0.25, requires_grad=True)}

    server.client().report("s", HANDOUT, np.int64(3), metrics)

    assert json.loads(server.requests[0].content) == {
        "token": HANDOUT.token,
        "step": 3,
        "metrics": {"loss": 0.5, "accuracy": 0.25},
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float32("nan"), "metrics.loss: is NaN; give a finite number"),
        (date(2026, 1, 1), "metrics.loss: is of type date, which JSON does not have; give text, a number"),
    ],
)
def test_a_metric_that_is_none_is_refused_before_anything_is_sent(value: Any, message: str) -> None:
    server = Server()

    with pytest.raises(InvalidRequest, match=message):
        server.client().tell("s", HANDOUT, "complete", {"loss": value})

    assert server.requests == []


def test_of_many_rows_that_cannot_travel_the_first_are_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        Server().client().predict("s", pd.DataFrame({"age": [np.inf] * 1000}))

    assert [problem.path for problem in refused.value.errors] == [f"rows.{place}.age" for place in range(20)]


def test_a_data_frames_rows_are_predicted_its_nans_as_gaps() -> None:
    server = Server(
        httpx.Response(200, json={"trial": 1, "task": "regression", "target": "pay", "predictions": [], "notes": []})
    )
    frame = pd.DataFrame({"age": [39, 40], "hours": np.array([np.nan, 1.5], np.float32), "job": ["a", None]})

    server.client().predict("s", frame)

    assert json.loads(server.requests[0].content)["rows"] == [
        {"age": 39, "hours": None, "job": "a"},
        {"age": 40, "hours": 1.5, "job": None},
    ]


def test_dates_go_as_texts_that_say_the_zone_and_a_missing_one_is_a_gap() -> None:
    said = {"trial": 1, "task": "regression", "target": "pay", "predictions": [], "notes": []}
    server = Server(httpx.Response(200, json=said), httpx.Response(200, json=said))
    at = pd.Series([pd.Timestamp("2024-05-01T14:30", tz="+02:00"), None])
    frame = pd.DataFrame({"at": at, "day": [date(2024, 5, 1), None]})

    server.client().predict("s", frame)
    server.client().predict("s", [{"at": datetime.fromisoformat("2024-05-01T14:30")}])

    sent = [json.loads(request.content)["rows"] for request in server.requests]
    assert sent == [
        [{"at": "2024-05-01T14:30:00+02:00", "day": "2024-05-01"}, {"at": None, "day": None}],
        [{"at": "2024-05-01T14:30:00"}],
    ]


def test_a_study_comes_back_typed_with_what_can_be_derived_from_it() -> None:
    server = Server(httpx.Response(200, json=STUDY))

    study = server.client(api_key="secret").study("digits")

    assert server.requests[0].url == "http://server/api/v1/studies/digits"
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    assert (study.total, study.counts.ended, study.ended) == (40, 38, False)  # 31 + 6 + 1; the two running are not done
    assert study.model_copy(update={"counts": Counts(complete=39, failed=3)}).total == 42  # a grid's failed come again
    assert study.objective.direction == "maximize"
    assert study.best is not None
    assert study.best.parameters == {"optimizer.lr": 0.01}


def test_a_study_is_created_once_although_the_connection_broke_twice() -> None:
    broken = httpx.ReadError("reset"), httpx.ConnectError("refused")
    server = Server(*broken, httpx.Response(201, json=STUDY))

    server.client().create_study({"name": "digits"})

    keys = {request.headers["Idempotency-Key"] for request in server.requests}
    assert len(server.requests) == 3
    assert len(keys) == 1
    assert [json.loads(request.content) for request in server.requests] == [{"name": "digits"}] * 3


def test_a_change_is_sent_again_under_the_key_that_it_had() -> None:
    server = Server(httpx.ReadError("reset"), httpx.Response(200, json=STUDY), httpx.Response(200, json=STUDY))
    client = server.client()

    client.change_budget("digits", {"trials": 60})
    client.change_budget("digits", {"trials": 60})

    first, again, other = (request.headers["Idempotency-Key"] for request in server.requests)
    assert first == again != other


def test_two_studies_are_created_under_two_keys() -> None:
    server = Server(httpx.Response(201, json=STUDY), httpx.Response(201, json=STUDY))
    client = server.client()

    client.create_study({"name": "digits"})
    client.create_study({"name": "digits"})

    assert server.requests[0].headers["Idempotency-Key"] != server.requests[1].headers["Idempotency-Key"]


def test_what_might_do_harm_twice_is_sent_once() -> None:
    server = Server(httpx.ReadError("reset"))

    with pytest.raises(Unreachable):
        server.client().pause("digits")

    assert len(server.requests) == 1


def test_an_address_without_a_server_is_told_with_the_cure() -> None:
    server = Server(*[httpx.ConnectError("Connection refused")] * 4)

    with pytest.raises(Unreachable, match=r"no server answers at http://server .*trialyard up"):
        list(server.client().studies())

    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (500, ServerError),
        (503, ServerError),
    ],
)
def test_each_refusal_has_its_kind_and_carries_the_problem(status: int, kind: type[ApiError]) -> None:
    server = Server(httpx.Response(status, json={"title": "No", "detail": "because of the case", "status": status}))

    with pytest.raises(ApiError) as caught:
        server.client().study("digits")

    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.title, str(caught.value)) == (status, "No", "because of the case")


def test_the_problems_of_a_study_are_told_one_a_line() -> None:
    errors = [
        {"path": "parameters.optimiser.lr", "message": "there is no such knob", "hint": "did you mean optimizer.lr?"},
        {"path": "budget.trials", "message": "must be at least 1", "hint": ""},
    ]
    server = Server(httpx.Response(422, json={"title": "Invalid study", "detail": "2 problems", "errors": errors}))

    with pytest.raises(InvalidRequest) as caught:
        server.client().create_study({})

    assert str(caught.value).splitlines() == [
        "parameters.optimiser.lr: there is no such knob; did you mean optimizer.lr?",
        "budget.trials: must be at least 1",
    ]


def test_a_page_of_html_from_a_proxy_is_still_an_error_in_words() -> None:
    server = Server(httpx.Response(502, text="<html>Bad Gateway</html>"))

    with pytest.raises(ServerError, match="the server answered 502"):
        server.client().study("digits")


def test_trials_are_fetched_page_by_page_as_they_are_taken() -> None:
    def page(numbers: list[int], cursor: str | None) -> httpx.Response:
        items = [{"number": number, "state": "COMPLETE", "parameters": {}} for number in numbers]
        return httpx.Response(200, json={"items": items, "next_cursor": cursor})

    server = Server(page([0, 1], "c1"), page([2], None))
    trials = server.client().trials("digits", state="complete")

    assert next(trials).number == 0
    assert len(server.requests) == 1
    assert [trial.number for trial in trials] == [1, 2]
    assert dict(server.requests[1].url.params) == {"state": "complete", "limit": "200", "cursor": "c1"}


def test_ask_report_and_tell_carry_the_token() -> None:
    handout = {"number": 3, "attempt": 1, "token": "1.3.1", "parameters": {"x": 0.5}}
    trial = {"number": 3, "state": "COMPLETE", "parameters": {"x": 0.5}, "values": {"loss": 0.25}}
    server = Server(
        httpx.Response(200, json={"items": [handout]}),
        httpx.Response(200, json={"decision": "prune"}),
        httpx.Response(200, json=trial),
    )
    client = server.client()

    (given,) = client.ask("mine", worker="w1")
    decision = client.report("mine", given, step=1, metrics={"loss": 0.5})
    told = client.tell("mine", given, "complete", {"loss": 0.25})

    assert (decision, told.values) == ("prune", {"loss": 0.25})
    bodies = [json.loads(request.content) for request in server.requests]
    assert bodies[0] == {"worker": "w1", "count": 1}
    assert bodies[1] == {"token": "1.3.1", "step": 1, "metrics": {"loss": 0.5}}
    assert bodies[2] == {"token": "1.3.1", "state": "complete", "metrics": {"loss": 0.25}, "reason": None}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("http://there:1", "Bearer ty_env")),
        ({"server_url": "http://here:2", "api_key": "ty_own"}, ("http://here:2", "Bearer ty_own")),
    ],
)
def test_a_client_speaks_to_the_server_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: tuple[str, str]
) -> None:
    monkeypatch.setenv("TRIALYARD_SERVER_URL", "http://there:1/")
    monkeypatch.setenv("TRIALYARD_API_KEY", "ty_env")
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"items": [], "next_cursor": None})

    list(Client(transport=httpx.MockTransport(answer), **given).workers())

    [request] = asked
    assert (f"{request.url.scheme}://{request.url.netloc.decode()}", request.headers["authorization"]) == expected


def test_the_trials_are_a_data_frame_with_their_types() -> None:
    table = io.BytesIO()
    pd.DataFrame({"number": [0, 1], "loss": [0.5, None], "k": ["a", "b"]}).to_parquet(table)

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.url.path, request.url.params["format"]) == ("/api/v1/studies/s/export", "parquet")
        return httpx.Response(200, content=table.getvalue())

    frame = Client(transport=httpx.MockTransport(answer)).dataframe("s")

    assert frame[frame.loss.notna()].to_dict("records") == [{"number": 0, "loss": 0.5, "k": "a"}]


def test_handouts_come_until_the_study_has_ended_and_wait_while_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("trialyard.client.time.sleep", waits.append)
    first, second = ({"number": n, "attempt": 1, "token": f"1.{n}.1", "parameters": {"x": n}} for n in (0, 1))
    server = Server(
        httpx.Response(200, json={"items": [first], "ended": False}),
        httpx.Response(200, json={"items": [], "ended": False}, headers={"Retry-After": "2"}),
        httpx.Response(200, json={"items": [second], "ended": False}),
        httpx.Response(200, json={"items": [], "ended": True}, headers={"Retry-After": "60"}),
    )

    given = list(server.client().handouts("mine", worker="w1"))

    assert [handout.number for handout in given] == [0, 1]
    assert waits == [2.0]


def test_a_trial_that_diverged_has_no_metrics_to_tell() -> None:
    server = Server(httpx.Response(200, json={"number": 3, "state": "FAILED", "parameters": {"x": 0.5}}))

    server.client().tell("s", HANDOUT, "diverged", reason="loss is nan")

    [request] = server.requests
    told = {"token": HANDOUT.token, "state": "diverged", "metrics": {}, "reason": "loss is nan"}
    assert json.loads(request.content) == told


def test_events_go_on_behind_the_last_one_when_the_connection_breaks() -> None:
    class Broken(httpx.SyncByteStream):
        def __iter__(self):
            yield b'id: 1\nevent: trial\ndata: {"number": 0}\n\nid: 2\nevent: trial\ndata: {"num'
            raise httpx.ReadError("reset")

    rest = b': ping\n\nid: 2\nevent: trial\ndata: {"number": 1}\n\n'
    server = Server(
        httpx.Response(200, stream=Broken()),
        httpx.ConnectError("refused"),
        httpx.Response(503, json={"detail": "starting"}),
        httpx.Response(200, content=rest),
        httpx.Response(204),
    )

    events = list(server.client().events("digits"))

    assert [(event.id, event.kind, event.body) for event in events] == [
        (1, "trial", {"number": 0}),
        (2, "trial", {"number": 1}),
    ]
    assert [request.headers["Last-Event-ID"] for request in server.requests] == ["0", "1", "1", "1", "2"]


def test_events_of_a_study_that_is_gone_end_with_its_error() -> None:
    server = Server(httpx.Response(404, json={"detail": "there is no study 'digits'"}))

    with pytest.raises(NotFound, match="there is no study 'digits'"):
        next(server.client().events("digits"))


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    server = Server(httpx.Response(200, json=STUDY))

    server.client().study("../keys?x=1")

    assert server.requests[0].url.raw_path == b"/api/v1/studies/..%2Fkeys%3Fx%3D1"


@pytest.mark.parametrize(
    ("lines", "bodies"),
    [
        (["id: 1", "data: {}", ""], [{}]),
        (["id:1", 'data:{"a": 1}', ""], [{"a": 1}]),  # one space after the colon may be left out
        (["id: 1", 'data: {"a":', "data: 1}", ""], [{"a": 1}]),  # several data lines are one text
        ([": ping", "", "retry: 1000", "", "id: 1", "data: {}", ""], [{}]),
        (["id: 1", "data: {}"], []),  # cut off before its empty line: it did not arrive
    ],
)
def test_an_event_stream_is_read_as_the_standard_says(lines: list[str], bodies: list[dict[str, Any]]) -> None:
    assert [event.body for event in parse_events(lines)] == bodies
