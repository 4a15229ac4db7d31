"""What no client of ours would send: it is refused with a reason, and never fails the server."""

from __future__ import annotations

import json
from typing import Any

import httpx

from store.settings import Settings
from tests.api_server import ApiServer, definition, on_sqlite, serving

STUDIES = "/api/v1/studies"
ASK = "/api/v1/studies/s/ask"
REPORT = "/api/v1/studies/s/trials/0/report"
TELL = "/api/v1/studies/s/trials/0/tell"

GOOD = json.dumps(definition("good"))
TOKEN = '"token": "1.0.1"'

BODIES: list[tuple[str, str | bytes, int]] = [
    (STUDIES, b"", 422),
    (STUDIES, "{", 400),
    (STUDIES, "[]", 422),
    (STUDIES, "null", 422),
    (STUDIES, '"text"', 422),
    (STUDIES, b"\xff\xfe", 400),
    (STUDIES, b'{"name": "\xc3"}', 400),
    (STUDIES, GOOD.replace("0.0", "NaN"), 422),
    (STUDIES, GOOD.replace("0.0", "-Infinity"), 422),
    (STUDIES, GOOD.replace("1.0", "1e999"), 422),
    (STUDIES, GOOD.replace("1.0", "1" * 400), 422),
    (STUDIES, GOOD.replace("1.0", "1" * 5000), 400),
    (STUDIES, GOOD.replace('"val/loss"', '"\\ud800"'), 422),
    (STUDIES, GOOD.replace('"val/loss"', '"a\\u0000b"'), 422),
    (STUDIES, GOOD.replace('"x"', '"x\\u0000"'), 422),
    (STUDIES, GOOD.replace('"name": "good"', '"name": "good", "name": "better"'), 400),
    (STUDIES, GOOD.replace('"good"', '"UPPER"'), 422),
    (STUDIES, GOOD.replace('"good"', '"good\\n"'), 422),
    (STUDIES, "[" * 900 + "]" * 900, 422),
    (STUDIES, "[" * 100_000 + "]" * 100_000, 400),
    (STUDIES, '{"a":' * 900 + "1" + "}" * 900, 422),
    (ASK, b"", 422),
    (ASK, "[]", 422),
    (ASK, '{"worker": "w", "count": 0}', 422),
    (ASK, '{"worker": "w", "count": 1.5}', 422),
    (ASK, '{"worker": "w", "count": true}', 422),
    (ASK, '{"worker": "w", "count": 9223372036854775808}', 422),
    (ASK, '{"worker": "", "count": 1}', 422),
    (ASK, '{"worker": "a\\u0000"}', 422),
    (ASK, json.dumps({"worker": "w" * 129}), 422),
    (REPORT, f'{{{TOKEN}, "step": 0, "metrics": {{"val/loss": NaN}}}}', 422),
    (REPORT, f'{{{TOKEN}, "step": 0, "metrics": {{"val/loss": 1e999}}}}', 422),
    (REPORT, f'{{{TOKEN}, "step": 0, "metrics": {{"val/loss": "0.5"}}}}', 422),
    (REPORT, f'{{{TOKEN}, "step": 0, "metrics": {{"val/loss": true}}}}', 422),
    (REPORT, f'{{{TOKEN}, "step": 0, "metrics": {{}}}}', 422),
    (REPORT, f'{{{TOKEN}, "step": -1, "metrics": {{"a": 1}}}}', 422),
    (REPORT, f'{{{TOKEN}, "step": 2147483648, "metrics": {{"a": 1}}}}', 422),
    (REPORT, '{"token": "1.0.0", "step": 1, "metrics": {"a": 1}}', 409),
    (REPORT, '{"token": "a.b.c", "step": 1, "metrics": {"a": 1}}', 400),
    (TELL, f'{{{TOKEN}, "state": "done"}}', 422),
    (TELL, f'{{{TOKEN}, "state": "failed", "reason": "\\ud800"}}', 422),
    (TELL, f'{{{TOKEN}, "state": "failed", "reason": 7}}', 422),
    ("/session", "{", 400),
    ("/session", "[]", 400),
    ("/session", '{"key": "\\ud800"}', 401),
]

PATHS: list[tuple[str, int]] = [
    (f"{STUDIES}/UPPER", 404),
    (f"{STUDIES}/{'a' * 65}", 404),
    (f"{STUDIES}/%00", 404),
    (f"{STUDIES}/%ff%fe", 404),
    (f"{STUDIES}/..%2f..%2fetc", 404),
    (f"{STUDIES}/", 404),
    (f"{STUDIES}/s/", 404),
    (f"{STUDIES}/s/paretto", 404),
    (f"{STUDIES}/s/trials/-1", 404),
    (f"{STUDIES}/s/trials/one", 404),
    (f"{STUDIES}/s/trials/99999999999999999999", 404),
    (f"{STUDIES}/s/pareto?reference=1e999", 422),
    (f"{STUDIES}/s/trials/0/logs?attempt=0", 422),
    (f"{STUDIES}/s/trials/0/logs?attempt=99999999999", 422),
    (f"{STUDIES}?limit=0", 422),
    (f"{STUDIES}?limit=501", 422),
    (f"{STUDIES}?limit=ten", 422),
    (f"{STUDIES}?state=%00", 422),
    (f"{STUDIES}?stat=RUNNING", 400),
    (f"{STUDIES}?cursor=%00", 400),
    (f"{STUDIES}?cursor={'A' * 3000}", 422),
    (f"{STUDIES}/s/trials?sort=parameters", 422),
    (f"{STUDIES}/s/curves", 422),
    (f"{STUDIES}/s/curves?metric=", 422),
    (f"{STUDIES}/s/curves?metric=%00&from=-1", 422),
    (f"{STUDIES}/s/curves?metric=a&numbers=1,,2", 422),
    (f"{STUDIES}/s/curves?metric=a&numbers=99999999999", 422),
    (f"{STUDIES}/s/export?format=exe", 422),
    (f"{STUDIES}/s/events?last_event_id=-1", 400),
    (f"{STUDIES}/s/events?last_event_id=99999999999999999999", 400),
    ("/nothing/here", 404),
    ("/static/../main.py", 404),
    ("/docs/assets/%2e%2e/__init__.py", 404),
]


def refusal(answer: httpx.Response, expected: int) -> str | None:
    """What is wrong with an answer to a bad request; None if nothing is."""
    if answer.status_code != expected:
        return f"{answer.status_code} and not {expected}: {answer.text[:200]}"
    if answer.headers["content-type"] != "application/problem+json":
        return f"it is {answer.headers['content-type']}"
    problem = answer.json()
    if problem.keys() - {"errors"} != {"type", "title", "status", "detail"} or problem["status"] != expected:
        return f"it is no problem document: {problem}"
    errors: list[dict[str, Any]] = problem.get("errors", [])
    vague = [error for error in errors if not error["path"] or not error["message"]]
    return f"errors without a path or a message: {vague}" if vague else None


def test_every_bad_body_is_refused_with_a_reason(server: ApiServer) -> None:
    server.create("s")
    wrong = {}
    for path, body, expected in BODIES:
        answer = server.http.post(path, content=body, headers={"content-type": "application/json"})
        if complaint := refusal(answer, expected):
            wrong[path, body[:80]] = complaint

    assert wrong == {}
    assert [study["name"] for study in server.http.get(STUDIES).json()["items"]] == ["s"]


def test_every_bad_address_is_refused_with_a_reason(server: ApiServer) -> None:
    server.create("s")
    server.add_trials([0.5])

    answers = {path: refusal(server.http.get(path), expected) for path, expected in PATHS}

    assert {path: complaint for path, complaint in answers.items() if complaint} == {}


@on_sqlite
def test_a_method_that_a_path_does_not_take_is_refused_with_those_that_it_does(server: ApiServer) -> None:
    answer = server.http.put(STUDIES, json={})

    assert refusal(answer, 405) is None
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert server.http.put(f"{STUDIES}/s", json={}).headers["allow"] == "DELETE, GET, HEAD, PATCH"


@on_sqlite
def test_a_body_larger_than_the_limit_is_not_read(settings: Settings) -> None:
    with serving(settings.model_copy(update={"max_body_bytes": 2000})) as server:
        declared = server.http.post(STUDIES, json={"name": "x" * 2000})
        streamed = server.http.post(
            STUDIES, content=(b" " * 500 for _ in range(5)), headers={"content-type": "application/json"}
        )
        fitting = server.http.post(STUDIES, json=definition())

    assert (refusal(declared, 413), refusal(streamed, 413)) == (None, None)
    assert fitting.status_code == 201


@on_sqlite
def test_a_million_choices_are_refused_with_their_place(server: ApiServer) -> None:
    answer = server.http.post(STUDIES, json=definition(parameters={"x": {"values": list(range(1_000_000))}}))

    assert refusal(answer, 422) is None
    assert [error["path"] for error in answer.json()["errors"]] == ["parameters.x.values"]


@on_sqlite
def test_a_body_that_is_not_json_is_refused_by_its_type(server: ApiServer) -> None:
    answer = server.http.post(STUDIES, content="name: s", headers={"content-type": "text/plain"})

    assert refusal(answer, 415) is None


@on_sqlite
def test_an_unknown_key_names_the_nearest_known_one(server: ApiServer) -> None:
    server.create("s")

    answer = server.http.post(ASK, json={"wroker": "w"})

    errors = {error["path"]: error for error in answer.json()["errors"]}
    assert errors.keys() == {"worker", "wroker"}
    assert errors["wroker"]["hint"] == "did you mean 'worker'?"
