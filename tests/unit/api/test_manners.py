"""What people and their tools send without having read our documentation: carried out, or told what to send instead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update

from store.bus import open_redis, worker_key
from store.models import StudyRow, TrialState
from store.session import writes
from tests.api_server import ApiServer, definition, on_sqlite

STUDIES = "/api/v1/studies"

YAML = b"""\
name: from-yaml            # as the file has it
objective: {metric: val/loss, direction: minimize}
parameters:
  x: {low: 1e-4, high: 1e-1, log: true}
budget: {trials: 3}
trial: {kind: external}
"""

pytestmark = on_sqlite


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/docs", "/", "/workers", STUDIES, f"{STUDIES}/s", f"{STUDIES}/s/export"],
)
def test_head_is_answered_as_get_without_the_body(server: ApiServer, path: str):
    server.create()

    told, asked = server.http.head(path), server.http.get(path)

    assert told.status_code == asked.status_code == 200
    assert told.content == b""
    assert told.headers["content-type"] == asked.headers["content-type"]


def test_head_of_an_event_stream_ends(server: ApiServer):
    server.create()

    told = server.http.head(f"{STUDIES}/s/events", timeout=5)

    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["content-type"].startswith("text/event-stream")


def test_head_of_what_is_not_there_is_refused_as_get_is(server: ApiServer):
    assert server.http.head(f"{STUDIES}/nope").status_code == 404
    assert server.http.head(f"{STUDIES}/s/pause").status_code == 405
    assert server.http.put(STUDIES).headers["allow"] == "GET, HEAD, POST"


def test_requests_are_counted_by_the_whole_path_of_their_route(server: ApiServer):
    server.create()
    server.get("s")
    server.http.get("/studies/s")
    server.http.head("/healthz")

    text = server.http.get("/metrics").text

    for labels in (
        'method="GET",route="/api/v1/studies/{name}",status="200"',
        'method="GET",route="/studies/{name}",status="200"',
        'method="HEAD",route="/healthz",status="200"',
    ):
        assert f"trialyard_request_seconds_count{{{labels}}} 1.0" in text


@pytest.mark.parametrize("kind", ["application/yaml", "application/x-yaml; charset=utf-8", "text/yaml"])
def test_a_study_file_in_yaml_is_a_body(server: ApiServer, kind: str):
    made = server.http.post(STUDIES, content=YAML, headers={"Content-Type": kind})

    assert made.status_code == 201
    assert made.json()["definition"]["parameters"]["x"] == {"low": 1e-4, "high": 0.1, "log": True}


def test_others_are_answered_while_a_large_yaml_is_read(server: ApiServer):
    knobs = "".join(f"  x{number}: {{low: 0.0, high: 1.0}}\n" for number in range(20_000))
    body = f"name: large\nparameters:\n{knobs}".encode()
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(server.http.post, STUDIES, content=body, headers={"Content-Type": "application/yaml"})
        waits = []
        while not sent.done():
            waits.append(server.http.get("/healthz").elapsed)

    assert sent.result().status_code == 422
    assert max(waits) < sent.result().elapsed / 3


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"name: a\n\tb: 1", 400, "line 2, column 1: a tab"),
        (b"just text", 400, "no keys and values"),
        (b"name: \xff", 400, "utf-8"),
        (b"a: &a [*a]", 400, "alias"),
        (b"a: 1\na: 2", 400, "twice"),
        (b"name: .nan", 422, "NaN"),
        (b"", 422, "the body is missing"),
    ],
)
def test_yaml_that_cannot_be_read_is_refused_with_the_place(server: ApiServer, body: bytes, status: int, told: str):
    answer = server.http.post(STUDIES, content=body, headers={"Content-Type": "application/yaml"})

    assert answer.status_code == status
    assert told in answer.json()["detail"]


def test_a_form_is_refused_and_not_kept_as_a_data_set(server: ApiServer):
    form: dict[str, Any] = {"files": {"file": ("table.csv", b"a,b\n1,2\n")}}

    bare = server.http.post("/api/v1/datasets", data={"name": "d"}, **form)
    named = server.http.post("/api/v1/datasets?name=d&file=table.csv", **form)

    assert {bare.status_code, named.status_code} == {415}
    assert "--data-binary @" in bare.json()["detail"]
    assert server.http.get("/api/v1/datasets").json()["items"] == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/studies?limit=0", "limit: must be at least 1, and is 0"),
        ("/studies?limit=x", 'limit: must be a whole number, not "x"'),
        ("/studies?limit=501", "limit: must be at most 500, and is 501"),
        ("/studies/s/export?format=xlsx", 'format: "xlsx" is none of csv, parquet, json, optuna'),
        ("/studies/s/curves", "metric: is missing; say it in the address, as in ?metric=…"),
    ],
)
def test_wrong_parameters_are_told_in_the_same_words_as_wrong_keys(server: ApiServer, path: str, told: str):
    server.create()

    answer = server.http.get(f"/api/v1{path}")

    assert answer.status_code == 422
    assert answer.json()["detail"] == told
    assert answer.json()["errors"][0]["path"] == told.partition(":")[0]


def test_the_name_of_a_data_set_is_told_as_names_are(server: ApiServer):
    answer = server.http.post("/api/v1/datasets?name=My+Data&file=a.csv", content=b"a\n1\n")

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith('name: "My Data" is no name; use 1 to 64 lower-case letters')


def test_a_parameter_that_stands_twice_is_refused(server: ApiServer):
    server.create()

    answer = server.http.get(f"{STUDIES}/s/trials?state=complete&state=failed")

    assert answer.status_code == 400
    assert answer.json()["detail"] == "the query parameter 'state' stands twice; send it once"


def test_a_slash_too_many_is_told(server: ApiServer):
    assert "without the slash at its end" in server.http.get(f"{STUDIES}/").json()["detail"]
    assert "without the slash at its end" not in server.http.get("/api/v1/nothing/").json()["detail"]


@pytest.mark.parametrize("path", ["/workers/", "/studies/s/trials", "/nothing"])
def test_who_looks_for_a_page_that_is_not_there_sees_a_page(server: ApiServer, path: str):
    seen = server.http.get(path, headers={"Accept": "text/html,*/*"})

    assert (seen.status_code, seen.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert f"There is nothing at {path}" in seen.text
    assert server.http.get(path).headers["content-type"] == "application/problem+json"


def test_the_api_has_no_pages(server: ApiServer):
    answer = server.http.get("/api/v1/nothing", headers={"Accept": "text/html"})

    assert answer.headers["content-type"] == "application/problem+json"


def test_the_address_above_a_study_leads_to_all_of_them(server: ApiServer):
    answer = server.http.get("/studies")

    assert (answer.status_code, answer.headers["location"]) == (308, "/")


def test_an_export_is_a_table_if_nothing_is_said(server: ApiServer):
    server.create()

    assert server.http.get(f"{STUDIES}/s/export").headers["content-type"].startswith("text/csv")


def test_all_times_are_written_alike(server: ApiServer):
    server.create()
    past = {"version": 1, "parameters": {"x": {"value": 1}}, "until": "2026-01-01T00:00:00+00:00"}
    with writes(server.engine).begin() as session:
        session.execute(update(StudyRow).values(past_spaces=[past]))
    with open_redis(server.settings.redis_url) as client:
        client.hset(worker_key("w"), mapping={"pool": "default", "started_at": "2026-01-01T00:00:00.123456+00:00"})

    [space] = server.get("s")["past_spaces"]
    [worker] = server.http.get("/api/v1/workers").json()["items"]

    assert space["until"] == "2026-01-01T00:00:00Z"
    assert worker["started_at"] == "2026-01-01T00:00:00.123456Z"


def test_who_enqueues_bare_parameters_is_told_the_shape(server: ApiServer):
    server.create()

    answer = server.post("s/trials", {"x": 0.5})

    missing = {"path": "parameters", "message": "is missing", "hint": 'as in {"parameters": {"optimizer.lr": 0.01}}'}
    assert missing in answer.json()["errors"]


def test_ranges_are_told_in_their_order(server: ApiServer):
    server.create()

    answer = server.post("s/trials", {"parameters": {"x": 2}})

    assert answer.json()["detail"] == 'parameters.x: 2 is not in the space; it takes {"low": 0.0, "high": 1.0}'


def test_who_cancels_a_trial_that_has_ended_hears_how(server: ApiServer):
    server.create()
    server.add_trials([None, TrialState.RUNNING])

    answer = server.post("s/trials/0/cancel")

    assert answer.status_code == 409
    assert answer.json()["detail"] == "trial 0 is FAILED; only an open one can be cancelled"


def test_numbers_of_thousands_of_digits_are_told_without_the_advice_of_python(server: ApiServer):
    body = '{"name": ' + "1" * 5000 + "}"

    answer = server.http.post(STUDIES, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["detail"] == "the body is not valid JSON: it holds a number of more than 4,300 digits"


def test_a_metric_without_a_name_is_told_by_its_place(server: ApiServer):
    server.create()

    answer = server.post("s/trials/0/report", {"token": "1.0.1", "step": 1, "metrics": {"": 1.0}})

    assert answer.json()["errors"] == [{"path": "metrics.", "message": "must have at least 1 character", "hint": ""}]


def test_ensembles_are_greedy_if_nothing_is_said(server: ApiServer):
    document = server.http.get("/openapi.json").json()["components"]["schemas"]["EnsembleBody"]

    assert document["properties"]["method"]["default"] == "greedy"
    answer = server.http.post(f"{STUDIES}/s/ensembles", json={"trials": [0, 1]})
    assert answer.json()["errors"][0]["hint"] == "did you mean 'candidates'?"


def test_the_definition_of_the_contract_is_still_json(server: ApiServer):
    answer = server.http.post(STUDIES, content=str(definition()), headers={"Content-Type": "text/plain"})

    assert answer.status_code == 415
    assert "application/json or application/yaml" in answer.json()["detail"]
