"""Ask, report and tell, with the real scheduler at the other end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api_server import ApiServer, on_sqlite
from tests.services import wait_for


@pytest.fixture
def study(server: ApiServer) -> Iterator[ApiServer]:
    server.create("s")
    with server.scheduling():
        yield server


def ask(server: ApiServer, **more: Any) -> list[dict[str, Any]]:
    answer = server.post("s/ask", {"worker": "w1", **more})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def tell(server: ApiServer, handout: dict[str, Any], **more: Any) -> Any:
    body = {"token": handout["token"], "state": "complete", "metrics": {"val/loss": 0.5}} | more
    return server.post(f"s/trials/{handout['number']}/tell", body)


def test_a_study_runs_by_asking_reporting_and_telling(study: ApiServer) -> None:
    while items := ask(study, count=2):
        for handout in items:
            path = f"s/trials/{handout['number']}/report"
            report = {"token": handout["token"], "step": 1, "metrics": {"val/loss": handout["parameters"]["x"]}}
            assert study.post(path, report).json() == {"decision": "continue"}
            told = tell(study, handout, metrics={})
            assert told.json()["values"] == {"val/loss": handout["parameters"]["x"]}

    trials = study.get("s/trials")["items"]
    assert [(trial["number"], trial["state"]) for trial in trials] == [(n, "COMPLETE") for n in range(3)]
    assert study.get("s")["state"] == "COMPLETE"
    assert study.get("s")["best"]["values"]["val/loss"] == min(trial["parameters"]["x"] for trial in trials)
    assert study.get("s/best")["artifacts"] is None
    over = study.post("s/ask", {"worker": "w1"})
    assert over.json() == {"items": [], "ended": True}
    assert int(over.headers["retry-after"]) > 0


@on_sqlite
def test_an_empty_answer_says_when_to_ask_again(study: ApiServer) -> None:
    ask(study, count=3)

    answer = study.post("s/ask", {"worker": "w2"})

    assert answer.json() == {"items": [], "ended": False}
    assert int(answer.headers["retry-after"]) >= 1


def test_telling_twice_changes_nothing_and_reporting_then_is_refused(study: ApiServer) -> None:
    [handout] = ask(study)

    first, again = tell(study, handout), tell(study, handout)

    assert first.status_code == 200
    assert (again.status_code, again.json()) == (200, first.json())
    late = {"token": handout["token"], "step": 5, "metrics": {"val/loss": 0.1}}
    assert study.post(f"s/trials/{handout['number']}/report", late).status_code == 409


@on_sqlite
def test_a_pruned_trial_may_be_told_of_and_stays_pruned(server: ApiServer) -> None:
    server.create("s", pruner={"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0})
    with server.scheduling():
        good, bad = ask(server, count=2)
        decisions = []
        for handout, value in ((good, 0.1), (bad, 0.9)):  # 0.9 is worse than the median of one, 0.1
            report = {"token": handout["token"], "step": 1, "metrics": {"val/loss": value}}
            answer = server.post(f"s/trials/{handout['number']}/report", report)
            decisions.append(answer.json()["decision"])
            told = tell(server, handout, metrics={"val/loss": value})
        assert decisions == ["continue", "prune"]
        assert (told.status_code, told.json()["state"], told.json()["values"]) == (200, "PRUNED", None)


def report(server: ApiServer, handout: dict[str, Any], value: float, step: int = 1) -> Any:
    """The decision, or the status of the answer that has none."""
    body = {"token": handout["token"], "step": step, "metrics": {"val/loss": value}}
    answer = server.post(f"s/trials/{handout['number']}/report", body)
    return answer.json().get("decision", answer.status_code)


def pause(server: ApiServer, handout: dict[str, Any]) -> None:
    """Pause the study, and report step 1 until the scheduler has heard of it."""

    def heard() -> None:
        assert report(server, handout, 0.5) == "pause"

    server.post("s/pause")
    wait_for(heard, AssertionError)


@on_sqlite
def test_a_report_whose_answer_was_lost_on_the_way_is_answered_again(server: ApiServer) -> None:
    server.create("s", pruner={"name": "threshold", "upper": 1.0}, budget={"trials": 3, "parallel": 3})
    with server.scheduling():
        pruned, paused, told = ask(server, count=3)

        assert [report(server, pruned, 5.0) for _ in range(2)] == ["prune", "prune"]
        assert report(server, pruned, 5.0, step=2) == 409
        assert report(server, told, 0.5) == "continue"
        tell(server, told)
        assert report(server, told, 0.5) == 409
        pause(server, paused)
        assert report(server, paused, 0.5) == "pause"
        assert report(server, paused, 0.5, step=2) == 409
        assert server.get("s")["counts"] == server.get("s")["counts"] | {"pruned": 1, "complete": 1, "paused": 1}


@on_sqlite
def test_nothing_is_said_again_to_an_attempt_that_another_one_has_followed(server: ApiServer) -> None:
    def taken_up_again() -> None:
        assert [handout["attempt"] for handout in ask(server, worker="w2")] == [2]

    server.create("s", budget={"trials": 1})
    with server.scheduling():
        [handout] = ask(server)
        pause(server, handout)
        server.post("s/resume")
        wait_for(taken_up_again, AssertionError)

        assert report(server, handout, 0.5) == 409


@on_sqlite
def test_a_trial_that_has_reported_nothing_has_no_metrics(study: ApiServer) -> None:
    [handout] = ask(study)

    trial = study.get(f"s/trials/{handout['number']}")

    assert (trial["state"], trial["metrics"], trial["values"]) == ("RUNNING", {}, None)


@on_sqlite
def test_a_trial_that_was_enqueued_has_an_address(study: ApiServer) -> None:
    answer = study.post("s/trials", {"parameters": {"x": 0.5}})

    assert answer.status_code == 201, answer.text
    assert study.http.get(answer.headers["location"]).json() == answer.json()


@on_sqlite
def test_a_failed_trial_keeps_its_reason(study: ApiServer) -> None:
    [handout] = ask(study)

    trial = tell(study, handout, state="failed", metrics={}, reason="out of memory").json()

    assert (trial["state"], trial["reason"], trial["values"]) == ("FAILED", "out of memory", None)
    assert trial["attempts"][0] | {"worker": "w1", "ended": "failed", "reason": "out of memory"} == trial["attempts"][0]


@on_sqlite
@pytest.mark.parametrize(
    ("first", "other", "kept"),
    [
        (
            {"metrics": {"val/loss": 0.5}},
            {"metrics": {"val/loss": 0.25}},
            'is COMPLETE with {"val/loss":0.5}, as',
        ),
        ({"metrics": {"val/loss": 0.5}}, {"metrics": {"val/loss": 0.5, "f1": 1.0}}, 'COMPLETE with {"val/loss":0.5}'),
        ({"metrics": {"val/loss": 0.5}}, {"state": "failed", "metrics": {}}, 'COMPLETE with {"val/loss":0.5}'),
        ({"state": "failed", "metrics": {}}, {"metrics": {"val/loss": 0.5}}, "is FAILED, as was told first"),
        ({"state": "infeasible", "metrics": {}}, {"state": "failed", "metrics": {}}, "is PRUNED, as was told first"),
    ],
)
def test_what_is_told_twice_must_be_the_same(
    study: ApiServer, first: dict[str, Any], other: dict[str, Any], kept: str
) -> None:
    [handout] = ask(study)
    told = tell(study, handout, **first)

    again, differing = tell(study, handout, **first), tell(study, handout, **other)

    assert (told.status_code, again.status_code, again.json()) == (200, 200, told.json())
    assert differing.status_code == 409
    assert kept in differing.json()["detail"]
    assert study.get(f"s/trials/{handout['number']}") == told.json()


@on_sqlite
def test_what_was_reported_need_not_be_told_again(study: ApiServer) -> None:
    [handout] = ask(study)
    report = {"token": handout["token"], "step": 1, "metrics": {"val/loss": 0.75}}
    study.post(f"s/trials/{handout['number']}/report", report)
    assert tell(study, handout, metrics={}).status_code == 200

    assert tell(study, handout, metrics={}).status_code == 200
    assert tell(study, handout, metrics={"val/loss": 0.75}).status_code == 200
    assert tell(study, handout, metrics={"val/loss": 0.7}).status_code == 409


@on_sqlite
def test_complete_needs_the_objectives_metric(study: ApiServer) -> None:
    [handout] = ask(study)

    answer = tell(study, handout, metrics={"other": 1.0})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "metrics"
    assert "'val/loss' is missing" in answer.json()["detail"]
    assert study.get(f"s/trials/{handout['number']}")["state"] == "RUNNING"


@on_sqlite
def test_a_token_is_good_for_its_own_trial_only(study: ApiServer) -> None:
    one, two = ask(study, count=2)
    study.create("t")

    crossed = tell(study, one | {"token": two["token"]})
    elsewhere = study.post("t/trials/0/tell", {"token": one["token"], "state": "complete"})
    garbage = tell(study, one | {"token": "1.x.2"})
    later = tell(study, one | {"token": one["token"][:-1] + "2"})
    vast = tell(study, one | {"token": one["token"] + "0" * 30})

    statuses = [answer.status_code for answer in (crossed, elsewhere, garbage, later, vast)]
    assert statuses == [409, 409, 400, 409, 400]
    assert tell(study, one).status_code == 200


@on_sqlite
def test_what_our_own_workers_run_is_not_for_asking(server: ApiServer) -> None:
    server.create("s", trial={"kind": "objective", "name": "mine"})

    answer = server.post("s/ask", {"worker": "w"})

    assert answer.status_code == 409
    assert "kind 'objective'" in answer.json()["detail"]
    assert server.post("none/ask", {"worker": "w"}).status_code == 404


@on_sqlite
def test_a_trial_that_cannot_run_is_told_as_infeasible_once(study: ApiServer) -> None:
    [handout] = ask(study)

    answers = [tell(study, handout, state="infeasible", reason="80 GiB") for _ in range(2)]

    for answer in answers:
        trial = answer.json()
        assert (answer.status_code, trial["state"], trial["feasible"], trial["reason"]) == (
            200,
            "PRUNED",
            False,
            "80 GiB",
        )


@on_sqlite
def test_a_trial_that_diverged_fails_once_and_teaches_the_sampler_as_the_worst_so_far(server: ApiServer) -> None:
    proposed: dict[str, list[float]] = {}
    for name in ("diverged", "worst", "failed"):
        server.create(name, sampler={"name": "tpe", "seed": 3, "n_startup_trials": 2}, budget={"trials": 12})
    with server.scheduling():
        for name in ("diverged", "worst", "failed"):
            measured: list[float] = []
            proposed[name] = []
            while items := server.post(f"{name}/ask", {"worker": "w1"}).json()["items"]:
                [handout] = items
                proposed[name].append(handout["parameters"]["x"])
                end: dict[str, Any] = {"state": "complete", "metrics": {"val/loss": 1 - handout["parameters"]["x"]}}
                if handout["number"] == 2 and name == "worst":
                    end["metrics"] = {"val/loss": max(measured)}
                elif handout["number"] == 2:
                    end = {"state": name, "reason": "loss is nan"}
                body = {"token": handout["token"], **end}
                told = [server.post(f"{name}/trials/{handout['number']}/tell", body) for _ in range(2)]
                assert [answer.status_code for answer in told] == [200, 200], told[0].text
                measured += end.get("metrics", {}).values()

    assert len(proposed["diverged"]) == 12
    assert proposed["diverged"] == proposed["worst"] != proposed["failed"]
    trial = server.get("diverged/trials/2")
    assert (trial["state"], trial["reason"], trial["values"]) == ("FAILED", "loss is nan", None)
