"""Studies that have ended and are given more to do: they go on with all they know, and with nothing counted twice."""

from __future__ import annotations

from typing import Any

import pytest

from store.messages import (
    Amend,
    Answer,
    Done,
    Enqueue,
    Finish,
    Preflighted,
    Refused,
    RetryTrial,
    Settled,
)
from store.models import StudyRow, StudyState
from store.session import writes
from store.studies import Studies
from tests.yard import METRIC, Yard, study

EPOCHS = {"name": "asha", "min_resource": 1, "max_resource": 4, "reduction_factor": 2}
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def loss(parameters: dict[str, Any]) -> float:
    return abs(float(parameters["x"]) - 0.3) + {"a": 0.0, "b": 0.1, "c": 0.2}[parameters["k"]]


def run_to_the_end(yard: Yard, study_id: int, steps: int = 0) -> None:
    """One worker does whatever there is to do."""
    worker = yard.worker()
    while yard.study(study_id).state == "RUNNING":
        yard.turn()
        numbers = [job.number for job in yard.jobs() if job.study_id == study_id]
        assert numbers, "nothing is queued, and the study has not ended"
        given = worker.start(study_id, numbers[0])
        value, told = loss(given.parameters), "continue"
        first = len({each.step for each in yard.reports(study_id, given.attempt.number)}) + 1
        for step in range(first, steps + 1):
            told = worker.report(given.attempt, step, value / step).decision
            if told != "continue":
                break
        if told == "continue":
            worker.finish(given.attempt, value)
        else:
            worker.finish(given.attempt, outcome={"pause": "paused", "prune": "pruned"}[told])


def give(yard: Yard, study_id: int, **changes: Any) -> Answer:
    return yard.worker("api").say(Amend(study_id=study_id, **changes))


def parameters_of(yard: Yard, study_id: int) -> list[dict[str, Any]]:
    return [trial.parameters for trial in yard.trials(study_id)]


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        ({"name": "random", "seed": 7}, {"name": "none"}),
        ({"name": "tpe", "seed": 7, "n_startup_trials": 3}, {"name": "median", "n_startup_trials": 2}),
        ({"name": "auto", "seed": 7, "n_startup_trials": 3}, {"name": "none"}),
        ({"name": "cmaes", "seed": 7}, {"name": "none"}),
        ({"name": "nsga2", "seed": 7, "population_size": 4}, {"name": "hyperband", "max_resource": 4}),
    ],
)
def test_one_worker_comes_to_what_it_would_have_come_to_with_that_budget_from_the_start(
    yard: Yard, sampler: dict[str, Any], pruner: dict[str, Any]
) -> None:
    sections = {"sampler": sampler, "pruner": pruner}
    at_once = yard.begin(study("at-once", **sections, budget={"trials": 14, "parallel": 1}))
    run_to_the_end(yard, at_once, steps=4)
    # Hyperband shares trials out by the study's name, so it is to be the same one.
    with writes(yard.engine).begin() as session:
        session.get_one(StudyRow, at_once).name = "before"
    in_parts = yard.begin(study("at-once", **sections, budget={"trials": 9, "parallel": 1}))
    run_to_the_end(yard, in_parts, steps=4)
    assert (yard.study(in_parts).state, len(yard.trials(in_parts))) == ("COMPLETE", 9)

    assert give(yard, in_parts, budget={"trials": 14}) == Done()

    found = yard.study(in_parts)
    assert (found.state, found.ended_at, found.reason) == ("RUNNING", None, None)
    run_to_the_end(yard, in_parts, steps=4)
    assert yard.study(in_parts).state == "COMPLETE"
    assert parameters_of(yard, in_parts) == parameters_of(yard, at_once)
    assert yard.states(in_parts) == yard.states(at_once)
    events = yard.events(in_parts)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    told = [event.body["state"] for event in events if event.kind == "study"]
    assert told == ["RUNNING", "COMPLETE", "RUNNING", "RUNNING", "COMPLETE"]


@ON_SQLITE
def test_under_asha_who_was_stopped_when_the_search_ended_stays_so_and_the_rungs_go_on(yard: Yard) -> None:
    study_id = yard.begin(study(pruner=EPOCHS, budget={"trials": 8, "parallel": 1}))
    run_to_the_end(yard, study_id, steps=4)
    before = {trial.number: (trial.state, trial.ended_at) for trial in yard.trials(study_id)}
    assert "PRUNED" in {state for state, _ in before.values()}

    give(yard, study_id, budget={"trials": 16})
    run_to_the_end(yard, study_id, steps=4)

    trials = yard.trials(study_id)
    assert {trial.number: (trial.state, trial.ended_at) for trial in trials[:8]} == before
    assert len(trials) == 16
    assert {trial.state for trial in trials[8:]} == {"COMPLETE", "PRUNED"}


@ON_SQLITE
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"budget": {"trials": 3}}, "3 trials are made, budget.trials is 3; raise it"),
        ({"budget": {"trials": 2}}, "3 trials are made, budget.trials is 2; raise it"),
        ({"priority": 4}, "3 trials are made, budget.trials is 3; raise it"),
        ({"parameters": {"x": {"low": 0.0, "high": 2.0}}}, "3 trials are made, budget.trials is 3; raise it"),
        ({"budget": {"trials": 9, "target": 5.0}}, "budget.target was reached; change it, or lift it with null"),
        ({"budget": {"trials": 9, "timeout": 1e-3}}, "budget.timeout was reached; change it, or lift it with null"),
        ({"budget": {"trials": 9, "parallel": 0}}, "budget.parallel"),
    ],
)
def test_what_gives_it_nothing_to_do_is_refused_and_changes_nothing(yard: Yard, changes: Any, why: str) -> None:
    study_id = yard.begin(study(budget={"trials": 3, "parallel": 1}))
    run_to_the_end(yard, study_id)
    before = yard.study(study_id)

    answer = give(yard, study_id, **changes)

    assert isinstance(answer, Refused)
    assert why in answer.message
    after = yard.study(study_id)
    assert (after.state, after.definition, after.last_event) == ("COMPLETE", before.definition, before.last_event)
    assert (after.ended_at, after.past_spaces) == (before.ended_at, [])


@ON_SQLITE
def test_the_time_for_which_it_had_ended_is_not_counted(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 9, "parallel": 1, "timeout": 100}))
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt, 0.5)
    yard.clock.advance(101)
    yard.turn()
    assert (yard.study(study_id).state, yard.study(study_id).reason) == ("COMPLETE", "budget.timeout was reached")
    assert yard.states(study_id) == ["COMPLETE", "CANCELLED"]
    yard.clock.advance(100_000)
    assert isinstance(give(yard, study_id, budget={"parallel": 2}), Refused)

    assert give(yard, study_id, budget={"timeout": 160, "parallel": 1}) == Done()

    for number in (2, 3):
        worker.finish(worker.start(study_id, number).attempt, 0.4)
        yard.restart()
    assert yard.study(study_id).rested_seconds == pytest.approx(100_000, abs=1)
    yard.clock.advance(40)
    yard.turn()
    assert yard.study(study_id).state == "RUNNING"
    yard.clock.advance(21)
    yard.turn()
    assert (yard.study(study_id).state, yard.study(study_id).reason) == ("COMPLETE", "budget.timeout was reached")

    yard.clock.advance(50_000)
    give(yard, study_id, budget={"timeout": 170})
    yard.clock.advance(5)
    yard.turn()
    assert (yard.study(study_id).state, yard.states(study_id)[-1]) == ("RUNNING", "QUEUED")
    assert yard.study(study_id).rested_seconds == pytest.approx(150_000, abs=1)


def retry(yard: Yard, study_id: int, number: int) -> Answer:
    return yard.worker("api").say(RetryTrial(study_id=study_id, number=number))


@pytest.mark.parametrize("restarts", [False, True])
def test_a_failed_trial_of_a_study_that_has_ended_runs_again_and_nothing_else_does(yard: Yard, restarts: bool) -> None:
    study_id = yard.begin(study(budget={"trials": 3, "parallel": 1}))
    worker = yard.worker()
    for number in range(3):
        value = {"outcome": "failed"} if number < 2 else {"value": 0.5}
        worker.finish(worker.start(study_id, number).attempt, **value)
    assert yard.study(study_id).state == "COMPLETE"
    yard.clock.advance(1000)

    assert retry(yard, study_id, 0) == Done(number=0)
    assert retry(yard, study_id, 1) == Done(number=1)
    if restarts:
        yard.restart()

    found = yard.study(study_id)
    assert (found.state, found.ended_at) == ("RUNNING", None)
    assert found.rested_seconds == pytest.approx(1000, abs=1)
    for number in (0, 1):
        given = worker.start(study_id, number)
        assert given.attempt.attempt == 2
        worker.finish(given.attempt, 0.1)
    assert yard.states(study_id) == ["COMPLETE"] * 3
    assert yard.study(study_id).state == "COMPLETE"
    events = [event.body["state"] for event in yard.events(study_id) if event.kind == "study"]
    assert events == ["RUNNING", "COMPLETE", "RUNNING", "COMPLETE"]


@ON_SQLITE
@pytest.mark.parametrize(
    ("sections", "number", "why"),
    [
        ({}, 0, "trial 0 is COMPLETE; only one FAILED or CANCELLED is run again"),
        ({}, 7, "there is no trial 7"),
        ({"target": 5.0}, 1, "a trial could not run: budget.target was reached; change it, or lift it with null"),
        ({"max_failed": 0}, 1, ""),
    ],
)
def test_a_trial_that_could_not_run_stays_as_it_is_and_so_does_its_study(
    yard: Yard, sections: dict[str, Any], number: int, why: str
) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 2} | sections))
    worker, other = yard.worker(), yard.worker("w2")
    first, second = worker.start(study_id, 0).attempt, other.start(study_id, 1).attempt
    other.finish(second, outcome="failed")
    if "max_failed" not in sections:
        worker.finish(first, 0.5)
    before = yard.study(study_id)
    assert before.ended_at is not None

    answer = retry(yard, study_id, number)

    if not why:  # it failed of this one alone
        assert answer == Done(number=number)
        return
    assert isinstance(answer, Refused)
    assert why in answer.message
    after = yard.study(study_id)
    assert (after.state, after.ended_at, after.last_event) == (before.state, before.ended_at, before.last_event)


GRID = {"sampler": {"name": "grid"}, "parameters": {"x": {"values": [0.1, 0.2]}, "k": {"values": ["a", "b"]}}}


@ON_SQLITE
def test_a_grid_goes_on_with_more_values_and_not_with_more_trials(yard: Yard) -> None:
    study_id = yard.begin(study(**GRID, budget={"parallel": 1}))
    run_to_the_end(yard, study_id)
    assert len(yard.trials(study_id)) == 4

    answer = give(yard, study_id, budget={"trials": 9})
    assert isinstance(answer, Refused)
    assert answer.message.endswith("every point of the grid was tried; give a parameter more values")
    assert give(yard, study_id, parameters={"x": {"values": [0.1, 0.2, 0.4]}}) == Done()
    run_to_the_end(yard, study_id)

    assert (yard.study(study_id).state, len(yard.study(study_id).past_spaces)) == ("COMPLETE", 1)
    assert [trial.parameters for trial in yard.trials(study_id)[4:]] == [{"x": 0.4, "k": "a"}, {"x": 0.4, "k": "b"}]


@ON_SQLITE
@pytest.mark.parametrize(
    ("sections", "changes"),
    [
        ({"budget": {"trials": 9, "parallel": 1}}, {"parameters": {"x": {"values": [0.1]}}}),
        ({"budget": {"parallel": 1}}, {"parameters": {"x": {"values": [0.2]}}, "budget": {"trials": 9}}),
        ({"budget": {"parallel": 1}}, {"parameters": {"x": {"values": [0.2]}}}),
        ({"budget": {"trials": 9, "parallel": 1}}, {"parameter_constraints": ["x <= 0.15"]}),
    ],
)
def test_a_grid_is_not_taken_up_for_points_that_were_tried(yard: Yard, sections: Any, changes: Any) -> None:
    study_id = yard.begin(study(**GRID | sections))
    run_to_the_end(yard, study_id)
    before = yard.study(study_id)
    assert (before.state, len(yard.trials(study_id))) == ("COMPLETE", 4)

    answer = give(yard, study_id, **changes)

    assert isinstance(answer, Refused)
    assert answer.message.endswith("every point of this grid was tried; give a parameter more values")
    after = yard.study(study_id)
    assert (after.state, after.last_event, after.past_spaces) == ("COMPLETE", before.last_event, [])


@ON_SQLITE
def test_a_study_that_failed_by_its_trials_goes_on_when_more_may_fail(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 6, "parallel": 1, "max_failed": 1}))
    worker = yard.worker()
    for number in range(2):
        worker.finish(worker.start(study_id, number).attempt, outcome="failed", reason="the disk is full")
    assert yard.study(study_id).state == "FAILED"
    answer = give(yard, study_id, budget={"trials": 9})
    assert isinstance(answer, Refused)
    assert answer.message.endswith("2 trials failed, budget.max_failed is 1; raise it")

    assert give(yard, study_id, budget={"max_failed": 3}) == Done()
    assert (yard.study(study_id).state, yard.study(study_id).reason) == ("RUNNING", None)
    run_to_the_end(yard, study_id)

    assert yard.study(study_id).state == "COMPLETE"
    assert yard.states(study_id) == ["FAILED", "FAILED", *["COMPLETE"] * 4]


@ON_SQLITE
def test_a_study_that_a_person_or_its_preflight_ended_stays_ended(yard: Yard) -> None:
    cancelled = yard.begin(study("cancelled"))
    yard.set_state(cancelled, StudyState.CANCELLED)
    refused = yard.submit(study("refused"))
    worker = yard.worker()
    worker.take(refused, None)
    worker.say(Preflighted(study_id=refused, problems=[{"path": "trial", "message": "no such data", "hint": ""}]))

    for study_id, why in [
        (cancelled, "the study 'cancelled' was cancelled and changes no more; a new one learns from its trials with "),
        (refused, "the study 'refused' failed before its first trial"),
    ]:
        answer = give(yard, study_id, budget={"trials": 99})
        assert isinstance(answer, Refused)
        assert answer.message.startswith(why)
        assert yard.study(study_id).ended_at is not None


@ON_SQLITE
def test_a_change_in_the_batch_in_which_it_is_cancelled_hears_of_that(yard: Yard) -> None:
    study_id, person = yard.begin(study()), yard.worker("api")
    person.post(Amend(study_id=study_id, budget={"trials": 99}))
    yard.clock.advance(5)
    yard.set_state(study_id, StudyState.CANCELLED)

    answer = person.answer()
    assert isinstance(answer, Refused)
    assert answer.message.startswith("the study 's' was cancelled and changes no more; a new one learns")


@ON_SQLITE
def test_more_trials_in_the_batch_that_would_have_ended_it_keep_it_running(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    worker, person = yard.worker(), yard.worker("api")
    given = worker.start(study_id, 0)
    worker.post(Finish(attempt=given.attempt, outcome="finished", metrics={METRIC: 0.5}))
    person.post(Amend(study_id=study_id, budget={"trials": 2}))
    yard.turn()

    assert person.answer() == Done()
    assert (yard.study(study_id).state, yard.states(study_id)) == ("RUNNING", ["COMPLETE", "QUEUED"])
    assert "COMPLETE" not in [event.body["state"] for event in yard.events(study_id) if event.kind == "study"]


def test_changes_that_come_at_once_all_hold_and_it_is_taken_up_once(yard: Yard) -> None:
    study_id = yard.begin(study(enqueue=[{"x": 0.5, "k": "a"}], budget={"trials": 1, "parallel": 1}))
    run_to_the_end(yard, study_id)
    people = [yard.worker(f"api-{place}") for place in range(5)]
    changes: list[dict[str, Any]] = [
        {"budget": {"trials": 4}},
        {"budget": {"max_failed": 3}},
        {"parameters": {"x": {"low": 2.0, "high": 3.0}}},
        {"budget": {"trials": 6}},
        {"priority": 3},
    ]
    for person, change in zip(people, changes, strict=True):
        person.post(Amend(study_id=study_id, **change))
    yard.clock.advance(5)
    yard.scheduler.run_once()

    assert [person.answer() for person in people] == [Done()] * 5
    found = yard.study(study_id)
    assert [found.definition["budget"][key] for key in ("trials", "max_failed")] == [6, 3]
    assert (found.definition["priority"], len(found.past_spaces)) == (3, 1)
    assert 5 <= found.rested_seconds < 6
    run_to_the_end(yard, study_id)
    assert len(yard.trials(study_id)) == 6
    assert all(2 <= trial.parameters["x"] <= 3 for trial in yard.trials(study_id)[1:])


@pytest.mark.parametrize("settled", [False, True])
def test_a_scheduler_that_dies_over_it_has_done_it_or_has_not(yard: Yard, settled: bool) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    run_to_the_end(yard, study_id)
    person = yard.worker("api")
    person.post(Amend(study_id=study_id, budget={"trials": 3}))

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    part, name = (yard.scheduler._inbox, "settle") if settled else (yard.scheduler._outbox, "send")
    setattr(part, name, die)
    with pytest.raises(KeyboardInterrupt):
        yard.turn()
    assert yard.study(study_id).state == ("RUNNING" if settled else "COMPLETE")
    yard.restart()

    assert person.answer() == Done()
    run_to_the_end(yard, study_id)
    assert len(yard.trials(study_id)) == 3


@ON_SQLITE
def test_a_study_that_is_deleted_at_that_moment_is_gone_and_the_scheduler_goes_on(yard: Yard) -> None:
    study_id, other = yard.begin(study(budget={"trials": 1, "parallel": 1})), yard.begin(study("other"))
    run_to_the_end(yard, study_id)
    send = yard.scheduler._outbox.send

    def delete_first(ledger: Any) -> Any:
        with writes(yard.engine).begin() as session:
            Studies(session).delete("s")
        yard.scheduler._outbox.send = send  # type: ignore[method-assign]
        return send(ledger)

    yard.scheduler._outbox.send = delete_first  # type: ignore[method-assign]
    give(yard, study_id, budget={"trials": 3})

    answer = give(yard, study_id, budget={"trials": 3})
    assert answer == Refused(message="there is no such study any more")
    run_to_the_end(yard, other)
    assert yard.study(other).state == "COMPLETE"


@ON_SQLITE
def test_a_study_that_cannot_be_loaded_stays_ended_and_takes_nobody_along(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    run_to_the_end(yard, study_id)

    def fails(*_: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr("search.wishes.load_study", fails)
        answer = give(yard, study_id, budget={"trials": 3})

    assert isinstance(answer, Refused)
    assert "ZeroDivisionError: a fault of ours" in answer.message
    assert yard.study(study_id).state == "COMPLETE"
    assert give(yard, study_id, budget={"trials": 3}) == Done()


@ON_SQLITE
def test_points_that_a_person_gives_and_those_of_the_study_file_come_once(yard: Yard) -> None:
    points = [{"x": 0.5, "k": "a"}, {"x": 0.6, "k": "b"}]
    study_id = yard.begin(study(enqueue=points, budget={"trials": 3, "parallel": 1}))
    run_to_the_end(yard, study_id)
    give(yard, study_id, budget={"trials": 5})
    assert yard.worker("api").say(Enqueue(study_id=study_id, parameters={"x": 0.7, "k": "c"})) == Done(number=4)
    run_to_the_end(yard, study_id)

    given = [place for place, trial in enumerate(yard.trials(study_id)) if trial.parameters in points]
    assert given == [0, 1]
    assert yard.trials(study_id)[4].parameters == {"x": 0.7, "k": "c"}


@ON_SQLITE
def test_a_population_has_ended_with_its_members(yard: Yard) -> None:
    pbt = {"name": "pbt", "population_size": 2, "max_resource": 2, "seed": 7}
    study_id = yard.begin(study(sampler=pbt, parameters={"x": {"low": 0.0, "high": 1.0}}, budget={"parallel": 2}))
    worker = yard.worker()
    for number in range(2):
        worker.finish(worker.start(study_id, number).attempt, outcome="failed", reason="full")
    assert yard.study(study_id).state == "FAILED"

    answer = give(yard, study_id, budget={"timeout": 9})

    assert isinstance(answer, Refused)
    assert answer.message.endswith("the members of its population have ended; begin another study")


@ON_SQLITE
def test_a_change_in_the_batch_in_which_it_fails_is_refused_for_the_moment(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = yard.begin(study(budget={"trials": 3, "parallel": 1}))
    worker, person = yard.worker(), yard.worker("api")
    given = worker.start(study_id, 0)

    def fails(*_: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr("search.optuna_study.OptunaStudy.finish", fails)
        worker.post(Finish(attempt=given.attempt, outcome="finished", metrics={METRIC: 0.5}))
        person.post(Amend(study_id=study_id, budget={"trials": 9}))
        yard.turn()
    assert worker.answer() == Settled(stale=True)
    assert person.answer() == Refused(message="the study is ending at this moment; ask again")
    assert yard.study(study_id).state == "FAILED"
    assert yard.study(study_id).definition["budget"]["trials"] == 3

    assert give(yard, study_id, budget={"trials": 4}) == Done()  # the fault is mended
    run_to_the_end(yard, study_id)
    assert yard.study(study_id).state == "COMPLETE"
