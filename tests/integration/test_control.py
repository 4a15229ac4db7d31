"""People who meddle with a running search: by the SDK, over the API, to a scheduler that runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from sqlalchemy import Engine

from api.main import create_app
from search.scheduler import Scheduler
from store.bus import open_redis
from store.messages import Amend, CancelTrial, Decision, Done, Enqueue, Holds, RetryTrial
from store.models import StudyState
from store.settings import Settings
from tests.yard import METRIC, Yard, study
from trialyard.client import Client
from trialyard.errors import Conflict, InvalidRequest

EXTERNAL = {"kind": "external"}


@pytest.fixture
def client(database_url: str, engine: Engine, redis_url: str) -> Iterator[Client]:
    settings = Settings(database_url=database_url, redis_url=redis_url, idle_seconds=0.05)
    line = open_redis(redis_url)
    scheduler = Scheduler(settings, engine, line)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None))
    running = [threading.Thread(target=scheduler.run), threading.Thread(target=server.run, args=([listening],))]
    for thread in running:
        thread.start()
    try:
        with Client(f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            yield client
    finally:
        scheduler.stop()
        server.should_exit = True
        for thread in running:
            thread.join(timeout=10)
        listening.close()
        line.close()


def paths_of(error: pytest.ExceptionInfo[InvalidRequest]) -> list[str]:
    return [each.path for each in error.value.errors]


def test_a_given_trial_is_the_next_to_begin(client: Client) -> None:
    client.create_study(study(budget={"trials": 3, "parallel": 1}, trial=EXTERNAL))
    [first] = client.ask("s", "w1")

    given = client.enqueue("s", {"x": 0.25, "k": "b"})

    assert (given.number, given.state, given.parameters) == (1, "WAITING", {"x": 0.25, "k": "b"})
    assert client.ask("s", "w1") == []  # only one at a time
    client.tell("s", first, "complete", {METRIC: 0.5})
    [second] = client.ask("s", "w1")
    assert (second.number, second.parameters) == (1, {"x": 0.25, "k": "b"})
    with pytest.raises(InvalidRequest) as refused:
        client.enqueue("s", {"x": 2.0, "y": 1})
    assert paths_of(refused) == ["parameters.y", "parameters.x"]
    part = client.enqueue("s", {"x": 0.5})
    assert part.parameters == {"x": 0.5, "k": part.parameters["k"]}  # which the sampler has chosen
    with pytest.raises(Conflict, match=r"all 3 trials of budget\.trials are made"):
        client.enqueue("s", {"x": 0.75, "k": "a"})


def test_a_cancelled_trial_may_run_again(client: Client) -> None:
    client.create_study(study(budget={"trials": 2, "parallel": 1}, trial=EXTERNAL))
    [handout] = client.ask("s", "w1")

    assert client.cancel_trial("s", 0).state == "CANCELLED"
    with pytest.raises(Conflict):
        client.report("s", handout, 1, {METRIC: 0.5})
    with pytest.raises(Conflict, match="trial 0 is CANCELLED"):
        client.cancel_trial("s", 0)

    assert client.retry_trial("s", 0).state == "WAITING"
    [again] = client.ask("s", "w1")
    assert (again.number, again.attempt, again.parameters) == (0, 2, handout.parameters)
    assert client.tell("s", again, "complete", {METRIC: 0.5}).state == "COMPLETE"
    with pytest.raises(Conflict, match="trial 0 is COMPLETE; only one FAILED or CANCELLED"):
        client.retry_trial("s", 0)
    counts = client.study("s").counts
    assert (counts.complete, counts.cancelled, counts.waiting) == (1, 0, 0)


def test_a_budget_is_changed_at_once_or_not_at_all(client: Client) -> None:
    client.create_study(study(budget={"trials": 5, "parallel": 1}, trial=EXTERNAL))
    assert len(client.ask("s", "w1", count=9)) == 1

    for wrong, path in [
        ({"trials": 0}, "budget.trials"),
        ({"trial": 9}, "budget.trial"),
        ({"retries": 1}, "budget.retries"),
    ]:
        with pytest.raises(InvalidRequest) as refused:
            client.change_budget("s", wrong)
        assert paths_of(refused) == [path]
    assert refused.value.errors[0].hint.startswith("these can: trials, parallel, ")
    changed = client.change_budget("s", {"trials": 4, "parallel": None, "timeout": "2h"})

    assert {key: changed.definition["budget"][key] for key in ("trials", "parallel", "timeout")} == {
        "trials": 4, "parallel": None, "timeout": 7200.0,
    }  # fmt: skip
    handouts = client.ask("s", "w1", count=9)
    assert [handout.number for handout in handouts] == [1, 2, 3]
    for number in range(4):
        client.cancel_trial("s", number)
    assert client.study("s").state == "COMPLETE"
    with pytest.raises(Conflict, match=r"4 trials are made, budget\.trials is 4; raise it"):
        client.change_budget("s", {"parallel": 2})
    with pytest.raises(Conflict, match="a larger budget takes it up again: trialyard edit s "):
        client.enqueue("s", {"x": 0.5, "k": "a"})

    again = client.change_budget("s", {"trials": 6, "parallel": 1})

    assert (again.state, again.model_extra["ended_at"]) == ("RUNNING", None)  # type: ignore[index]
    [handout] = client.ask("s", "w1")
    assert handout.number == 4
    assert client.retry_trial("s", 0).state == "WAITING"
    client.cancel("s")
    with pytest.raises(Conflict, match="the study 's' was cancelled and changes no more"):
        client.change_budget("s", {"trials": 9})
    with pytest.raises(Conflict, match=r"warm_start: \{study: s\}"):
        client.retry_trial("s", 0)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_space_is_changed_at_once_or_not_at_all_and_others_begin_with_its_trials(client: Client) -> None:
    client.create_study(study(budget={"trials": 9}, trial=EXTERNAL))
    for handout in client.ask("s", "w1", count=4):
        client.tell("s", handout, "complete", {METRIC: handout.parameters["x"]})

    for wrong, path in [
        ({"x": {"low": 1.0, "high": 0.0}}, "parameters.x"),
        ({"x": None}, "parameters.x"),
        ({"y": {"low": 0, "hihg": 1}}, "parameters.y.hihg"),
        ({"y": {"value": 1, "when": {"k": ["d"]}}}, "parameters.y.when.k"),
    ]:
        with pytest.raises(InvalidRequest) as refused:
            client.edit("s", {"parameters": wrong})
        assert path in paths_of(refused)
    changed = client.edit("s", {"parameters": {"x": {"low": 1.5, "high": 2.0}}, "budget": {"trials": 12}})

    assert changed.space_version == 2
    assert changed.definition["parameters"]["x"] == {"low": 1.5, "high": 2.0}
    assert changed.total == 12
    [handout] = client.ask("s", "w1")
    assert 1.5 <= handout.parameters["x"] <= 2.0
    assert [trial.model_extra["space_version"] for trial in client.trials("s") if trial.model_extra] == [1] * 4 + [2]
    client.tell("s", handout, "complete", {METRIC: 0.5})
    rows = b"".join(client.export("s", "csv")).splitlines()
    assert len(rows) == 6
    warm = {"sampler": {"name": "tpe"}, "warm_start": {"study": "s"}, "trial": EXTERNAL}
    told = client.create_study(study("t", parameters=changed.definition["parameters"], **warm)).warm_start
    assert told is not None
    assert (told["taken"], [each["trials"] for each in told["left_out"]]) == (1, [4])
    assert next(iter(client.events("t"))).body["warm_start"] == told
    with pytest.raises(InvalidRequest) as refused:
        client.create_study(study("u", **(warm | {"warm_start": {"study": "nobody"}})))
    assert paths_of(refused) == ["warm_start.study"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_parameter_that_decides_is_the_important_one(client: Client) -> None:
    client.create_study(study(budget={"trials": 40}, trial=EXTERNAL))
    assert client.importance("s") == {}
    for handout in client.ask("s", "w1", count=40):
        client.tell("s", handout, "complete", {METRIC: handout.parameters["x"]})

    shares = client.importance("s")

    assert list(shares) == ["x", "k"]
    assert shares["x"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_reports_nothing_may_ask_whether_its_attempt_has_ended(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 2}))
    person, worker, other = yard.worker("api"), yard.worker(), yard.worker("other")
    first, second = worker.start(study_id, 0).attempt, other.start(study_id, 1).attempt
    person.say(CancelTrial(study_id=study_id, number=0))

    ended, running = Decision(decision="stop", stale=True), Decision(decision="continue")
    assert (worker.say(Holds(attempt=first)), other.say(Holds(attempt=second))) == (ended, running)
    assert other.say(Holds(attempt=second._replace(attempt=2))) == ended
    assert yard.states(study_id) == ["CANCELLED", "RUNNING"]
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.turn(2)
    assert other.say(Holds(attempt=second)) == ended


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_changed_budget_and_an_enqueued_trial_outlive_the_scheduler(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 1}))
    person, worker = yard.worker("api"), yard.worker()
    assert person.say(Amend(study_id=study_id, budget={"trials": 3})) == Done()
    assert person.say(Enqueue(study_id=study_id, parameters={"x": 0.25, "k": "b"})) == Done(number=1)
    yard.restart()

    worker.finish(worker.start(study_id, 0).attempt, 0.5)
    assert yard.states(study_id) == ["COMPLETE", "QUEUED"]
    assert worker.start(study_id, 1).parameters == {"x": 0.25, "k": "b"}
    person.say(CancelTrial(study_id=study_id, number=1))
    yard.restart()
    assert person.say(RetryTrial(study_id=study_id, number=1)) == Done(number=1)
    worker.finish(worker.start(study_id, 2).attempt, 0.4)
    worker.finish(worker.start(study_id, 1).attempt, 0.3)

    assert yard.states(study_id) == ["COMPLETE"] * 3
    assert yard.study(study_id).state == StudyState.COMPLETE


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("restarts", [False, True])
def test_of_trials_that_are_run_again_the_first_begins_first_whoever_was_wished_first(
    yard: Yard, restarts: bool
) -> None:
    study_id = yard.begin(study(budget={"trials": 3, "parallel": 1}))
    person, worker = yard.worker("api"), yard.worker()
    for number in (0, 1):
        worker.finish(worker.start(study_id, number).attempt, outcome="failed")
    running = worker.start(study_id, 2).attempt
    for number in (1, 0):
        assert person.say(RetryTrial(study_id=study_id, number=number)) == Done(number=number)
    if restarts:
        yard.restart()

    worker.finish(running, 0.5)

    assert yard.states(study_id) == ["QUEUED", "WAITING", "COMPLETE"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("budget", "trials", "reason"),
    [
        ({"target": 0.2}, 4, "budget.target was reached"),  # 0.2 is trial 3's
        ({"patience_trials": 2}, 3, "budget.patience_trials: 2 trials ended without a better one"),  # since trial 0
        ({"patience_trials": 3, "target": 0.05}, 7, "budget.patience_trials: 3 trials ended without a better one"),
    ],
)
def test_a_search_ends_when_it_is_good_enough_or_no_longer_gets_better(
    yard: Yard, budget: dict[str, float], trials: int, reason: str
) -> None:
    study_id = yard.begin(study(budget={"trials": 20, "parallel": 1, **budget}))
    worker = yard.worker()
    for number, value in enumerate([0.5, 0.6, 0.7, 0.2, 0.3, 0.3, 0.3, 0.1]):
        if yard.study(study_id).state != "RUNNING":
            break
        worker.finish(worker.start(study_id, number).attempt, value)
        yard.restart()

    assert len([state for state in yard.states(study_id) if state == "COMPLETE"]) == trials
    assert (yard.study(study_id).state, yard.study(study_id).reason) == ("COMPLETE", reason)
