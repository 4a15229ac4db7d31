"""The best trial again on training and validation rows, ordered by the study itself when its search has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from search.definition import parse
from search.refitting import standing
from store.errors import DefinitionError
from store.messages import FinishTask, TakeTask, TaskAssignment
from store.models import AttemptRow, StudyRow, StudyState, TaskRow, TrialRow
from store.session import writes
from tests.yard import Yard, study

KNOBS = {"optimizer.lr": {"low": 0.01, "high": 0.1}}
TRAIN = {"kind": "train", "data": {"source": "sklearn:iris"}, "seed": 40, "early_stopping": {"patience": 2}}


def refitted(**sections: Any) -> dict[str, Any]:
    return study(parameters=KNOBS, trial=TRAIN, refit=True) | sections


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"trial": {"kind": "objective", "name": "mine"}}, "these run code of their own"),
        ({"objective": [{"metric": m, "direction": "minimize"} for m in ("val/loss", "params")]}, "several"),
        ({"trial": {**TRAIN, "schedule": {"name": "plateau"}}}, "the schedule plateau"),
        ({"parameters": {"schedule.name": {"values": ["cosine", "plateau"]}}}, "the schedule plateau"),
        ({"parameters": {"schedule.name": {"value": "plateau"}}}, "the schedule plateau"),
        ({"refit": {"seeds": 0}}, "must be at least 1"),
        ({"refit": {"seed": 5}}, "did you mean 'seeds'"),
    ],
)
def test_what_cannot_be_refitted_is_refused(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(refitted(**sections))

    [problem] = [each for each in caught.value.problems if each.path.startswith("refit")]
    assert says in f"{problem.message}; {problem.hint}"


def test_a_schedule_that_no_trial_has_is_no_reason_to_refuse() -> None:
    trial = {**TRAIN, "schedule": {"name": "plateau"}}

    definition = parse(refitted(trial=trial, parameters={"schedule.name": {"values": ["cosine", "linear"]}}))

    assert definition.refit is not None


def test_yes_and_no_are_answers_and_a_definition_is_read_again_as_it_was() -> None:
    assert parse(refitted(refit=False)).refit is None
    definition = parse(refitted())
    assert definition.document()["refit"] == {"seeds": 1}
    assert parse(definition.document()) == definition


def searched(yard: Yard, losses: dict[int, float], **sections: Any) -> int:
    """A study whose search is over, with these complete trials."""
    study_id = yard.submit(refitted(**sections))
    add_trials(yard, study_id, losses)
    return study_id


def scored(losses: Sequence[float]) -> dict[str, Any]:
    """What a training again came to from each of its seeds."""
    metrics = {f"seed/{place}/loss": loss for place, loss in enumerate(losses, start=1)}
    return {"metrics": metrics | {"val/loss": sum(losses) / len(losses)}, "epochs": 3}


def add_trials(yard: Yard, study_id: int, losses: dict[int, float]) -> None:
    now = yard.clock.now()
    with writes(yard.engine).begin() as session:
        for number, loss in losses.items():
            parameters = {"optimizer.lr": 0.01 + 0.001 * number}
            plain = {"parameters": parameters, "system_attrs": {}, "created_at": now, "ended_at": now}
            row = {"study_id": study_id, "number": number, "state": "COMPLETE", "values": {"val/loss": loss}}
            session.add(TrialRow(**row, **plain))
            session.flush()
            attempt = {"worker": "w", "device": "cpu", "started_at": now, "ended_at": now, "outcome": "finished"}
            session.add(AttemptRow(study_id=study_id, number=number, attempt=2, **attempt))


def end(yard: Yard, study_id: int, state: StudyState = StudyState.COMPLETE) -> None:
    yard.set_state(study_id, state)
    look(yard)


def look(yard: Yard) -> None:
    yard.clock.advance(6)
    yard.turn()


def orders(yard: Yard, study_id: int, kind: str = "ensemble") -> list[TaskRow]:
    with Session(yard.engine) as session:
        query = select(TaskRow).where(TaskRow.study_id == study_id, TaskRow.kind == kind).order_by(TaskRow.number)
        return list(session.scalars(query))


def stands(yard: Yard, study_id: int) -> tuple[str, int | None] | None:
    with Session(yard.engine) as session:
        return standing(session, session.get_one(StudyRow, study_id))


def finish(yard: Yard, task: TaskRow, result: dict[str, Any]) -> None:
    worker = yard.worker()
    given = worker.say(TakeTask(study_id=task.study_id, number=task.number, worker=worker.name))
    assert isinstance(given, TaskAssignment)
    worker.say(FinishTask(attempt=given.attempt, outcome="finished", result=result))


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_it_is_ordered_once_of_the_best_trial(yard: Yard) -> None:
    study_id = searched(yard, {0: 0.9, 1: 0.1, 2: 0.3}, refit={"seeds": 2})
    look(yard)
    assert (orders(yard, study_id), stands(yard, study_id)) == ([], ("WAITING", None))
    end(yard, study_id)

    [task] = orders(yard, study_id)
    assert task.request["members"] == [{"trial": 1, "attempt": 2}]
    assert (task.request["rounds"], task.request["trial"]["early_stopping"]) == (2, None)
    assert stands(yard, study_id) == ("QUEUED", task.ordinal)
    yard.restart()
    finish(yard, task, {"members": [{"trial": None, "weight": 1.0}]})
    yard.restart()
    look(yard)

    assert [each.number for each in orders(yard, study_id)] == [task.number]
    assert stands(yard, study_id) == ("COMPLETE", task.ordinal)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("own", "wanted", "models"), [(3, 1, 3), (3, 4, 4), (1, 2, 2)])
def test_a_trial_of_several_seeds_is_trained_again_from_no_fewer(
    yard: Yard, own: int, wanted: int, models: int
) -> None:
    study_id = searched(yard, {0: 0.5}, trial={**TRAIN, "seeds": own}, refit={"seeds": wanted})
    end(yard, study_id)

    [task] = orders(yard, study_id)
    assert task.request["rounds"] == models


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_search_that_is_taken_up_orders_another_one_if_another_trial_is_the_best(yard: Yard) -> None:
    study_id = searched(yard, {0: 0.9, 1: 0.1})
    end(yard, study_id)
    [first] = orders(yard, study_id)
    finish(yard, first, {"members": [{"trial": None, "weight": 1.0}]})

    for worse in (2, 3):
        yard.set_state(study_id, StudyState.RUNNING)
        assert stands(yard, study_id) == ("WAITING", None)
        add_trials(yard, study_id, {worse: 0.5})
        end(yard, study_id)
        assert [task.number for task in orders(yard, study_id)] == [first.number]
        assert stands(yard, study_id) == ("COMPLETE", first.ordinal)
    yard.set_state(study_id, StudyState.RUNNING)
    add_trials(yard, study_id, {4: 0.05})
    yard.set_state(study_id, StudyState.COMPLETE)
    assert stands(yard, study_id) == ("WAITING", None)
    look(yard)

    [_, second] = orders(yard, study_id)
    assert second.request["members"] == [{"trial": 4, "attempt": 2}]
    assert stands(yard, study_id) == ("QUEUED", second.ordinal)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_after_a_second_race_it_is_of_who_has_won_both(yard: Yard) -> None:
    study_id = searched(yard, {0: 0.1, 1: 0.2}, rescore={"best": 3, "seeds": 5})
    end(yard, study_id)
    # Trial 0 leads the first heat, of three seeds, and loses in the second one.
    heats = [{0: (0.30, 0.35, 0.40), 1: (0.36, 0.33, 0.41)}, {0: (0.5, 0.5), 1: (0.2, 0.2)}]
    for losses in heats:
        for task in orders(yard, study_id, "rescore")[-2:]:
            finish(yard, task, scored(losses[task.request["number"]]))
        look(yard)
    [of_first] = orders(yard, study_id)
    assert of_first.request["members"][0]["trial"] == 1
    finish(yard, of_first, {"members": [{"trial": None, "weight": 1.0}]})

    yard.set_state(study_id, StudyState.RUNNING)
    add_trials(yard, study_id, {2: 0.05})
    end(yard, study_id)
    assert stands(yard, study_id) == ("WAITING", None)  # who has won is not known yet
    [*_, newest] = orders(yard, study_id, "rescore")
    finish(yard, newest, scored((0.9, 0.91, 0.92)))  # clearly behind: its race is over after a heat
    look(yard)

    assert [task.number for task in orders(yard, study_id)] == [of_first.number]
    assert stands(yard, study_id) == ("COMPLETE", of_first.ordinal)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_with_a_race_it_waits_for_it_and_is_of_who_has_won(yard: Yard) -> None:
    study_id = searched(yard, {0: 0.1, 1: 0.2}, rescore={"best": 2, "seeds": 2})
    end(yard, study_id)
    first, second = orders(yard, study_id, "rescore")
    assert orders(yard, study_id) == []
    for task, losses in ((first, (0.5, 0.4)), (second, (0.3, 0.2))):
        finish(yard, task, scored(losses))
    look(yard)

    [task] = orders(yard, study_id)
    assert task.request["members"][0]["trial"] == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_study_that_was_cancelled_or_found_nothing_has_none(yard: Yard) -> None:
    cancelled, empty = searched(yard, {0: 0.5}), searched(yard, {}, name="empty")
    end(yard, cancelled, StudyState.CANCELLED)
    end(yard, empty)

    assert orders(yard, cancelled) == orders(yard, empty) == []
    assert stands(yard, cancelled) is None
