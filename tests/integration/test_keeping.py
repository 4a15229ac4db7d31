"""Disk: the files of the best trials stay, and what ensembles need; the rest a worker collects, once or twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from store.artifacts import Artifacts
from store.messages import Amend, AttemptKey, Done, Enqueue, FinishTask, TakeTask, TaskAssignment
from store.models import AttemptRow, StudyRow, StudyState, TaskRow, TrialRow
from store.session import writes
from store.tasks import Tasks
from tests.yard import Yard, study
from worker.collecting import Collecting
from worker.tasks import Workplace

FILES = (
    "model.json",
    "model.safetensors",
    "model.onnx",
    "predictions.npz",
    "checkpoint-0000003.safetensors",
    "log.txt",
)

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def trained(**sections: Any) -> dict[str, Any]:
    return study(
        parameters={"optimizer.lr": {"low": 0.01, "high": 0.1}},
        trial={"kind": "train", "data": {"source": "sklearn:iris"}},
        **sections,
    )


def leave(yard: Yard, artifacts: Artifacts, study_id: int, losses: Mapping[int, float | None]) -> None:
    """Trials with all their files: COMPLETE with a loss, FAILED without, each at its second attempt."""
    now = yard.clock.now()
    with writes(yard.engine).begin() as session:
        for number, loss in losses.items():
            state, reason = ("FAILED", "it diverged") if loss is None else ("COMPLETE", None)
            values = None if loss is None else {"val/loss": loss}
            plain = {"parameters": {"optimizer.lr": 0.05}, "system_attrs": {}, "created_at": now, "ended_at": now}
            session.add(TrialRow(study_id=study_id, number=number, state=state, values=values, reason=reason, **plain))
            session.flush()
            for attempt, outcome in ((1, "lost"), (2, "failed" if loss is None else "finished")):
                key = {"study_id": study_id, "number": number, "attempt": attempt}
                times = {"started_at": now, "ended_at": now, "outcome": outcome}
                session.add(AttemptRow(**key, worker="w", device="cpu", **times))
            for name in FILES:
                artifacts.attempt(AttemptKey(study_id, number, 2)).write(name, b"x" * 100)


def collect(yard: Yard, artifacts: Artifacts, study_id: int, number: int) -> dict[str, Any]:
    """What a worker does that takes the collection."""
    worker = yard.worker()
    given = worker.say(TakeTask(study_id=study_id, number=number, worker=worker.name))
    assert isinstance(given, TaskAssignment)
    place = Workplace(study_id, number, artifacts.task(study_id, number), artifacts, lambda: False, lambda: True)
    result = Collecting().run(given.request, place)
    worker.say(FinishTask(attempt=given.attempt, outcome="finished", result=result))
    return result


def collections(yard: Yard, study_id: int) -> list[TaskRow]:
    with Session(yard.engine) as session:
        return list(Tasks(session, session.get_one(StudyRow, study_id)).page("collect", None, 10))


def files(artifacts: Artifacts, study_id: int, number: int) -> set[str]:
    return set(artifacts.attempt(AttemptKey(study_id, number, 2)).names())


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(str(tmp_path / "artifacts"))


def test_of_an_ended_study_the_best_and_the_members_of_ensembles_stay(yard: Yard, artifacts: Artifacts) -> None:
    study_id = yard.submit(trained(keep={"models": 1, "predictions": 2}))
    leave(yard, artifacts, study_id, {0: 0.9, 1: 0.1, 2: 0.3, 3: 0.5, 4: None})
    with writes(yard.engine).begin() as session:
        request = {"method": "average", "members": [{"trial": 3, "attempt": 2}]}
        Tasks(session, session.get_one(StudyRow, study_id)).add("ensemble", request, yard.clock.now())
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.clock.advance(6)
    yard.turn()

    [task] = collections(yard, study_id)
    freed = collect(yard, artifacts, study_id, task.number)

    everything = set(FILES)
    model = {name for name in FILES if name.startswith(("model.", "checkpoint-"))}
    assert files(artifacts, study_id, 1) == everything  # the best one
    assert files(artifacts, study_id, 3) == everything  # an ensemble's
    assert files(artifacts, study_id, 2) == everything - model  # the second best keeps its predictions
    assert files(artifacts, study_id, 0) == files(artifacts, study_id, 4) == {"log.txt"}
    assert freed == {"files": 4 + 2 * 5, "bytes": 100 * 14}
    assert collect_again(yard, artifacts, study_id) == []  # one is enough


def test_of_an_ensembles_trials_those_stay_that_it_came_to_be_made_of(yard: Yard, artifacts: Artifacts) -> None:
    """Not those that it was to choose from, nor those of one that failed."""
    study_id = yard.submit(trained(keep={"models": 1, "predictions": 1}))
    leave(yard, artifacts, study_id, {0: 0.9, 1: 0.1, 2: 0.3, 3: 0.4})
    first, second, third = ({"trial": number, "attempt": 2} for number in (0, 2, 3))
    now = yard.clock.now()
    with writes(yard.engine).begin() as session:
        tasks = Tasks(session, session.get_one(StudyRow, study_id))
        failed, built = (tasks.add("ensemble", {"members": each}, now) for each in ([first], [second, third]))
        failed.state, failed.reason, failed.ended_at = "FAILED", "a member diverged", now
        built.state, built.result, built.ended_at = "COMPLETE", {"members": [third]}, now
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.clock.advance(6)
    yard.turn()

    [task] = collections(yard, study_id)
    collect(yard, artifacts, study_id, task.number)

    assert files(artifacts, study_id, 3) == set(FILES)
    assert files(artifacts, study_id, 0) == files(artifacts, study_id, 2) == {"log.txt"}


def collect_again(yard: Yard, artifacts: Artifacts, study_id: int) -> list[TaskRow]:
    yard.clock.advance(6)
    yard.turn()
    yard.restart()
    return collections(yard, study_id)[1:]


def test_a_clock_that_is_set_back_orders_no_collection_over_and_over(yard: Yard) -> None:
    study_id = yard.submit(trained())
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.clock.jump(timedelta(hours=-1))
    for _ in range(5):
        yard.clock.advance(6)
        yard.turn()

    assert len(collections(yard, study_id)) == 1


def test_the_checkpoints_that_members_of_a_population_left_go_with_its_end(yard: Yard, artifacts: Artifacts) -> None:
    pbt = {"name": "pbt", "population_size": 2, "seed": 7}
    study_id = yard.submit(trained(sampler=pbt, budget={"parallel": 2}))
    leave(yard, artifacts, study_id, {0: 0.9, 1: 0.1})
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.clock.advance(6)
    yard.turn()

    [task] = collections(yard, study_id)
    collect(yard, artifacts, study_id, task.number)

    left = {name for name in FILES if not name.startswith("checkpoint-")}
    assert files(artifacts, study_id, 0) == files(artifacts, study_id, 1) == left


def test_a_running_study_is_collected_when_it_has_grown_and_what_is_open_is_left_alone(
    yard: Yard, artifacts: Artifacts
) -> None:
    study_id = yard.begin(trained(keep={"models": 2, "predictions": None}, budget={"trials": 100, "parallel": 1}))
    leave(yard, artifacts, study_id, {number: 1 + number / 10 for number in range(10, 70)} | {70: None})
    yard.restart()
    yard.clock.advance(6)
    yard.turn()

    [task] = collections(yard, study_id)
    collect(yard, artifacts, study_id, task.number)

    assert files(artifacts, study_id, 10) == files(artifacts, study_id, 11) == set(FILES)
    assert files(artifacts, study_id, 12) == {"log.txt", "predictions.npz"}
    assert files(artifacts, study_id, 70) == set(FILES)  # it may be run again

    yard.set_state(study_id, StudyState.CANCELLED)
    yard.restart()
    yard.clock.advance(6)
    yard.turn()
    assert len(collections(yard, study_id)) == 2  # what was left alone goes with the study's end


def test_of_several_objectives_the_whole_front_stays_and_what_breaks_a_constraint_does_not(
    yard: Yard, artifacts: Artifacts
) -> None:
    objectives = [{"metric": name, "direction": "minimize"} for name in ("val/loss", "params")]
    study_id = yard.submit(trained(objective=objectives, keep={"models": 1, "predictions": 1}))
    leave(yard, artifacts, study_id, dict.fromkeys(range(6), 0.5))
    # 0, 1 and 2 make the front, 1 being the best by neither objective; 3 and 4 lie behind it; 5 is not feasible.
    points = [(0.1, 900), (0.4, 400), (0.9, 100), (0.5, 500), (0.9, 900), (0.0, 50)]
    with writes(yard.engine).begin() as session:
        for trial in session.query(TrialRow):
            loss, params = points[trial.number]
            trial.values, trial.violation = {"val/loss": loss, "params": params}, float(trial.number == 5)
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.clock.advance(6)
    yard.turn()

    [task] = collections(yard, study_id)
    collect(yard, artifacts, study_id, task.number)

    assert [number for number in range(6) if files(artifacts, study_id, number) == set(FILES)] == [0, 1, 2]


def test_a_running_study_whose_trials_take_over_weights_is_not_collected(yard: Yard, artifacts: Artifacts) -> None:
    trial = {"kind": "train", "data": {"source": "sklearn:iris"}, "transfer": {"inherit": "nearest"}}
    study_id = yard.begin(trained(keep={"models": 2}, budget={"trials": 100, "parallel": 1}) | {"trial": trial})
    leave(yard, artifacts, study_id, dict.fromkeys(range(10, 70), 1.0))
    yard.restart()
    yard.clock.advance(6)
    yard.turn()

    assert collections(yard, study_id) == []


def test_of_equal_trials_the_first_is_the_best_and_keeps_its_model(yard: Yard, artifacts: Artifacts) -> None:
    study_id = yard.submit(trained(keep={"models": 1, "predictions": 1}))
    leave(yard, artifacts, study_id, {0: 0.5, 1: 0.5})
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.clock.advance(6)
    yard.turn()

    [task] = collections(yard, study_id)
    collect(yard, artifacts, study_id, task.number)

    assert (files(artifacts, study_id, 0), files(artifacts, study_id, 1)) == (set(FILES), {"log.txt"})


def test_nothing_is_collected_of_a_study_that_our_workers_do_not_train(yard: Yard) -> None:
    study_id = yard.submit(study(trial={"kind": "external"}))
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.clock.advance(6)
    yard.turn()

    assert collections(yard, study_id) == []


def test_a_running_study_that_keeps_all_models_is_not_collected(yard: Yard, artifacts: Artifacts) -> None:
    study_id = yard.begin(trained(keep={"models": None}, budget={"trials": 100, "parallel": 1}))
    leave(yard, artifacts, study_id, dict.fromkeys(range(10, 70), 1.0))
    yard.restart()
    yard.clock.advance(6)
    yard.turn()

    assert collections(yard, study_id) == []


def test_a_study_that_is_taken_up_takes_over_no_weights_that_were_collected(yard: Yard, artifacts: Artifacts) -> None:
    trial = {"kind": "train", "data": {"source": "sklearn:iris"}, "transfer": {"inherit": "nearest"}}
    sections = {"keep": {"models": 1, "predictions": 1}, "budget": {"trials": 3, "parallel": 1}}
    study_id = yard.begin(trained(**sections) | {"trial": trial})
    worker = yard.worker()
    for number, loss in enumerate([0.5, 0.1, 0.9]):
        worker.finish(worker.start(study_id, number).attempt, loss)
    assert [each.inherits is not None for each in yard.trials(study_id)] == [False, True, True]
    yard.clock.advance(6)
    yard.turn()
    [late] = collections(yard, study_id)
    person = yard.worker("api")
    assert person.say(Amend(study_id=study_id, budget={"trials": 5})) == Done()

    # One that was ordered and comes late finds a study that runs, and takes nothing away from it.
    given = worker.say(TakeTask(study_id=study_id, number=late.number, worker=worker.name))
    assert isinstance(given, TaskAssignment)
    assert given.request == {"models": [], "predictions": []}
    worker.say(FinishTask(attempt=given.attempt, outcome="finished", result={}))
    # Whatever the new trial is near to: of those before only the best has surely kept its model.
    near = yard.trials(study_id)[2].parameters
    person.say(Enqueue(study_id=study_id, parameters=near))
    yard.restart()
    for number in (3, 4):
        given = worker.start(study_id, number)
        assert given.inherits == AttemptKey(study_id, 1, 1)
        worker.finish(given.attempt, outcome="failed", reason="full")


def test_a_collection_that_was_interrupted_begins_anew_and_a_study_that_keeps_all_loses_nothing(
    yard: Yard, artifacts: Artifacts
) -> None:
    study_id = yard.submit(trained(keep={"models": None, "predictions": None}))
    leave(yard, artifacts, study_id, {0: 0.9, 1: 0.1, 4: None})
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.clock.advance(6)
    yard.turn()
    [task] = collections(yard, study_id)
    worker = yard.worker("dies")
    given = worker.say(TakeTask(study_id=study_id, number=task.number, worker=worker.name))
    assert isinstance(given, TaskAssignment)
    worker.say(FinishTask(attempt=given.attempt, outcome="lost"))

    collect(yard, artifacts, study_id, task.number)

    assert files(artifacts, study_id, 0) == files(artifacts, study_id, 1) == set(FILES)
    assert collections(yard, study_id)[0].state == "COMPLETE"


def test_what_a_request_waited_for_whose_server_died_is_dropped(yard: Yard) -> None:
    study_id = yard.begin(study())
    with writes(yard.engine).begin() as session:
        Tasks(session, session.get_one(StudyRow, study_id)).add("predict", {}, yard.clock.now())
    yard.clock.advance(3601 + 6)
    yard.turn()

    with Session(yard.engine) as session:
        assert session.query(TaskRow).all() == []


def test_the_room_that_a_study_takes_is_told_by_kind(yard: Yard, artifacts: Artifacts) -> None:
    study_id = yard.submit(trained())
    leave(yard, artifacts, study_id, {0: 0.5})
    artifacts.task(study_id, 1).write("ensemble.json", b"{}")

    assert artifacts.usage(study_id) == {
        "models": 300, "predictions": 100, "checkpoints": 100, "logs": 100, "ensembles": 2
    }  # fmt: skip
    assert artifacts.usage(99) == {}
