"""The best trials again from other seeds when the search ends, in heats from which drops who is behind."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from search.definition import parse
from search.racing import heats_of, left, race_of, stage
from store.errors import DefinitionError
from store.messages import FinishTask, TakeTask, TaskAssignment
from store.models import StudyRow, StudyState, TaskRow, TrialRow
from store.session import writes
from tests.yard import Yard, study
from trialyard.rescoring import standings
from trialyard.resources import Rescore

KNOBS = {"optimizer.lr": {"low": 0.01, "high": 0.1}}
TRAIN = {"kind": "train", "data": {"source": "sklearn:iris"}, "seed": 40, "seeds": 2}


def raced(**sections: Any) -> dict[str, Any]:
    return study(parameters=KNOBS, trial=TRAIN, rescore={"best": 3, "seeds": 5}) | sections


@pytest.mark.parametrize(
    ("seeds", "heats"), [(2, [2]), (4, [4]), (5, [3, 2]), (6, [3, 3]), (7, [3, 2, 2]), (8, [3, 2, 3])]
)
def test_no_heat_has_a_single_seed(seeds: int, heats: list[int]) -> None:
    assert heats_of(seeds) == heats


def test_behind_is_who_is_worse_from_nearly_every_seed_and_not_who_is_worse_by_one() -> None:
    leader = [0.10, 0.20, 0.30]
    # Differences 0.05, 0.06, 0.07: 0.06 is more than 2.92 * 0.01 / sqrt(3); 0, 0, 0.3: 0.1 is less than 2.92 * 0.1.
    scores = {7: leader, 3: [0.15, 0.26, 0.37], 5: [0.10, 0.20, 0.60], 9: leader}

    assert left(scores, "minimize") == [7, 9, 5]
    assert left({number: [-score for score in each] for number, each in scores.items()}, "maximize") == [7, 9, 5]


def test_two_seeds_put_nobody_behind_who_is_not_worse_by_the_same_from_both() -> None:
    # One degree of freedom. 1 and 2: 1.5 is less than 6.314 * 0.5; 1 and 1.1: 1.05 is more than 6.314 * 0.05.
    assert left({0: [0.0, 0.0], 1: [1.0, 2.0], 2: [1.0, 1.1]}, "minimize") == [0, 1]


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"trial": {"kind": "objective", "name": "mine"}}, "code of their own"),
        ({"objective": [{"metric": m, "direction": "minimize"} for m in ("val/loss", "params")]}, "several"),
        ({"objective": {"metric": "params", "direction": "minimize"}}, '"params" is the same from all seeds'),
        ({"rescore": {"best": 0}}, "must be at least 1"),
        ({"rescore": {"seed": 5}}, "did you mean 'seeds'"),
    ],
)
def test_what_cannot_be_raced_is_refused(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(raced(**sections))

    [problem] = [each for each in caught.value.problems if each.path.startswith("rescore")]
    assert says in f"{problem.message}; {problem.hint}"


def searched(yard: Yard, losses: dict[int, float], **sections: Any) -> int:
    """A study whose search is over, with these complete trials."""
    study_id = yard.submit(raced(**sections))
    add_trials(yard, study_id, losses)
    return study_id


def add_trials(yard: Yard, study_id: int, losses: dict[int, float], rates: dict[int, float] | None = None) -> None:
    now = yard.clock.now()
    with writes(yard.engine).begin() as session:
        for number, loss in losses.items():
            parameters = {"optimizer.lr": (rates or {}).get(number, 0.01 + 0.001 * number)}
            plain = {"parameters": parameters, "system_attrs": {}, "created_at": now, "ended_at": now}
            row = {"study_id": study_id, "number": number, "state": "COMPLETE", "values": {"val/loss": loss}}
            session.add(TrialRow(**row, **plain))


def look(yard: Yard) -> None:
    yard.clock.advance(6)
    yard.turn()


def heat(yard: Yard, study_id: int) -> list[TaskRow]:
    """The tasks of the newest heat."""
    tasks = race(yard, study_id)
    last = max((task.request["heat"] for task in tasks), default=0)
    return [task for task in tasks if task.request["heat"] == last]


def race(yard: Yard, study_id: int) -> list[TaskRow]:
    with Session(yard.engine) as session:
        return race_of(session, study_id)


def stage_of(yard: Yard, study_id: int) -> str | None:
    with Session(yard.engine) as session:
        return stage(session, session.get_one(StudyRow, study_id))


def score(yard: Yard, task: TaskRow, *losses: float) -> None:
    """What a worker comes to."""
    worker = yard.worker()
    given = worker.say(TakeTask(study_id=task.study_id, number=task.number, worker=worker.name))
    assert isinstance(given, TaskAssignment)
    metrics = {f"seed/{place}/loss": loss for place, loss in enumerate(losses, start=1)}
    mean = {"val/loss": sum(losses) / len(losses), "val/loss_se": 0.5}
    worker.say(FinishTask(attempt=given.attempt, outcome="finished", result={"metrics": metrics | mean, "epochs": 3}))


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_race_begins_when_the_search_ends_and_goes_on_over_a_restart(yard: Yard) -> None:
    study_id = searched(yard, {0: 0.9, 1: 0.1, 2: 0.3, 3: 0.2})
    look(yard)
    assert (heat(yard, study_id), stage_of(yard, study_id)) == ([], "WAITING")
    yard.set_state(study_id, StudyState.COMPLETE)
    look(yard)

    first = heat(yard, study_id)
    assert [task.request["number"] for task in first] == [1, 3, 2]
    assert {(task.request["trial"]["seed"], task.request["trial"]["seeds"]) for task in first} == {(42, 3)}
    score(yard, first[0], 0.30, 0.31, 0.32)
    look(yard)
    assert len(heat(yard, study_id)) == 3  # a heat waits for all
    score(yard, first[1], 0.30, 0.35, 0.29)
    yard.restart()
    assert stage_of(yard, study_id) == "RUNNING"
    score(yard, first[2], 0.50, 0.51, 0.52)  # clearly behind
    look(yard)

    second = heat(yard, study_id)
    assert [task.request["number"] for task in second] == [1, 3]
    assert {(task.request["trial"]["seed"], task.request["trial"]["seeds"]) for task in second} == {(45, 2)}
    assert second[1].request["known"] == [0.30, 0.35, 0.29]
    score(yard, second[0], 0.33, 0.34)
    score(yard, second[1], 0.20, 0.21)
    look(yard)
    yard.restart()
    look(yard)

    assert [task.number for task in heat(yard, study_id)] == [task.number for task in second]  # it is over
    assert stage_of(yard, study_id) == "COMPLETE"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_search_that_is_taken_up_races_again_with_what_is_known(yard: Yard) -> None:
    study_id = searched(yard, {0: 0.1, 1: 0.2}, rescore={"best": 2, "seeds": 5})
    yard.set_state(study_id, StudyState.COMPLETE)
    look(yard)
    for losses in ((0.30, 0.31, 0.32), (0.33, 0.34)):  # of each trial in the first heat, and in the second one
        for task in heat(yard, study_id):
            score(yard, task, *(loss + 0.01 * task.request["number"] * place for place, loss in enumerate(losses)))
        look(yard)
    assert stage_of(yard, study_id) == "COMPLETE"
    raced_once = {task.number for task in race(yard, study_id)}

    yard.set_state(study_id, StudyState.RUNNING)
    look(yard)
    assert stage_of(yard, study_id) == "WAITING"
    add_trials(yard, study_id, {2: 0.05, 3: 0.5})  # the best two are 2 and 0 now
    yard.set_state(study_id, StudyState.COMPLETE)
    assert stage_of(yard, study_id) == "RUNNING"
    look(yard)
    [of_first] = [task for task in race(yard, study_id) if task.number not in raced_once]
    assert (of_first.request["number"], of_first.request["heat"]) == (2, 1)
    assert "known" not in of_first.request
    score(yard, of_first, 0.20, 0.25, 0.30)
    look(yard)
    [_, of_second] = [task for task in race(yard, study_id) if task.number not in raced_once]

    assert (of_second.request["number"], of_second.request["heat"]) == (2, 2)
    assert of_second.request["known"] == [0.20, 0.25, 0.30]
    assert (of_second.request["trial"]["seed"], of_second.request["trial"]["seeds"]) == (45, 2)
    assert stage_of(yard, study_id) == "RUNNING"
    score(yard, of_second, 0.22, 0.23)
    look(yard)
    assert stage_of(yard, study_id) == "COMPLETE"
    assert len(race(yard, study_id)) == len(raced_once) + 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_trials_with_the_same_parameters_are_one_in_a_race_also_when_the_search_is_taken_up(yard: Yard) -> None:
    study_id = searched(yard, {}, rescore={"best": 2, "seeds": 2})
    add_trials(yard, study_id, {0: 0.3, 1: 0.1, 2: 0.1, 3: 0.2, 4: 0.4}, rates={1: 0.05, 2: 0.05, 3: 0.05})
    yard.set_state(study_id, StudyState.COMPLETE)
    look(yard)

    assert [task.request["number"] for task in heat(yard, study_id)] == [1, 0]
    for task in heat(yard, study_id):
        score(yard, task, 0.3, 0.4)
    yard.set_state(study_id, StudyState.RUNNING)
    look(yard)
    add_trials(yard, study_id, {5: 0.05}, rates={5: 0.05})  # better by luck, and nothing new
    yard.set_state(study_id, StudyState.COMPLETE)
    look(yard)

    assert len(race(yard, study_id)) == 2
    assert stage_of(yard, study_id) == "COMPLETE"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_trial_keeps_its_own_value_in_the_next_heat_where_a_copy_of_it_was_better_by_luck(yard: Yard) -> None:
    study_id = searched(yard, {0: 0.1, 1: 0.2}, rescore={"best": 2, "seeds": 5})
    yard.set_state(study_id, StudyState.COMPLETE)
    look(yard)
    for task in heat(yard, study_id):
        score(yard, task, 0.3, 0.4, 0.5)
    yard.set_state(study_id, StudyState.RUNNING)
    add_trials(yard, study_id, {2: 0.05}, rates={2: 0.01})  # the training of trial 0
    yard.set_state(study_id, StudyState.COMPLETE)
    look(yard)

    second = [task.request for task in heat(yard, study_id)]
    assert {each["heat"] for each in second} == {2}
    assert {each["number"]: each["searched"] for each in second} == {0: 0.1, 1: 0.2}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_study_that_was_cancelled_or_has_nothing_to_race_with_has_no_race(yard: Yard) -> None:
    cancelled, empty = searched(yard, {0: 0.5}), searched(yard, {}, name="empty")
    yard.set_state(cancelled, StudyState.CANCELLED)
    yard.set_state(empty, StudyState.COMPLETE)
    look(yard)

    assert heat(yard, cancelled) == heat(yard, empty) == []
    assert (stage_of(yard, cancelled), stage_of(yard, empty)) == (None, "COMPLETE")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_folds_race_in_one_heat_and_a_training_that_fails_drops_out(yard: Yard) -> None:
    folds = {"kind": "train", "data": {"source": "sklearn:iris"}, "cross_validation": {"folds": 3}}
    in_folds = searched(yard, {0: 0.5, 1: 0.4}, trial=folds)
    failing = searched(yard, {0: 0.5, 1: 0.4}, name="failing")
    for study_id in (in_folds, failing):
        yard.set_state(study_id, StudyState.COMPLETE)
    look(yard)

    assert [task.request["trial"]["cross_validation"]["repeats"] for task in heat(yard, in_folds)] == [5, 5]
    good, bad = heat(yard, failing)
    score(yard, good, 0.3, 0.4, 0.5)
    worker = yard.worker()
    given = worker.say(TakeTask(study_id=failing, number=bad.number, worker=worker.name))
    assert isinstance(given, TaskAssignment)
    worker.say(FinishTask(attempt=given.attempt, outcome="failed", reason="it diverged"))
    look(yard)
    assert [task.request["number"] for task in heat(yard, failing)] == [1]


def test_the_standings_are_the_newest_heats_those_that_came_furthest_first() -> None:
    def of(number: int, trial: int, heat: int | None, rescored: float | None) -> Rescore:
        plain = {"seeds": 3, "state": "COMPLETE"}
        return Rescore.model_validate({"number": number, "trial": trial, "heat": heat, "rescored": rescored, **plain})

    found = [of(1, 7, 1, 0.5), of(2, 8, 1, 0.6), of(3, 9, 1, None), of(4, 7, 2, 0.55), of(5, 3, None, 0.1)]

    assert [each.number for each in standings(found, "minimize")] == [4, 2, 3]
