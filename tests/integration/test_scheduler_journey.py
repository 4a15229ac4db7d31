"""A trial's way from the definition to its end, seen in SQL: one scheduler, real databases, a real Redis."""

from __future__ import annotations

import pytest
from sqlalchemy import delete

from search.rows_postgres import _BY_INDEX, _update
from store.messages import Assignment, Finish, Nothing, Preflighted, PreflightTask, Refused, Report, Settled
from store.models import StudyRow, StudyState, TrialRow
from tests.yard import METRIC, Yard, study


def test_a_study_runs_from_its_preflight_to_its_last_trial(yard: Yard) -> None:
    study_id = yard.submit(study(budget={"trials": 2, "parallel": 1}))
    worker = yard.worker()
    assert yard.jobs() == {(study_id, None, 1)}

    task = worker.take(study_id, None)
    assert isinstance(task, PreflightTask)
    assert task.definition["name"] == "s"
    worker.say(Preflighted(study_id=study_id, facts={"rows": 5}))
    assert yard.study(study_id).state == "RUNNING"
    assert yard.study(study_id).facts == {"rows": 5}
    assert yard.states(study_id) == ["QUEUED"]

    first = worker.start(study_id, 0)
    assert first.metric == METRIC
    assert set(first.parameters) == {"x", "k"}
    assert worker.report(first.attempt, 1, 0.5).decision == "continue"
    worker.finish(first.attempt, 0.4)
    worker.finish(worker.start(study_id, 1).attempt, 0.3)

    assert yard.states(study_id) == ["COMPLETE", "COMPLETE"]
    assert [trial.values for trial in yard.trials(study_id)] == [{METRIC: 0.4}, {METRIC: 0.3}]
    assert yard.study(study_id).state == "COMPLETE"
    assert yard.jobs() == set()


def test_every_change_is_an_event_in_order_and_without_a_gap(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.report(attempt, 1, 0.5)
    worker.finish(attempt, 0.4)

    events = yard.events(study_id)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [(event.kind, event.body.get("state")) for event in events] == [
        ("study", "RUNNING"),
        ("trial", "QUEUED"),
        ("trial", "RUNNING"),
        ("report", None),
        ("trial", "COMPLETE"),
        ("study", "COMPLETE"),
    ]
    assert yard.study(study_id).last_event == len(events)


def test_a_study_that_the_preflight_refuses_fails_before_any_trial(yard: Yard) -> None:
    study_id = yard.submit(study())
    worker = yard.worker()
    worker.take(study_id, None)
    problem = {"path": "trial.data.target", "message": "there is no column 'incom'", "hint": "did you mean 'income'?"}
    worker.say(Preflighted(study_id=study_id, problems=[problem]))

    row = yard.study(study_id)
    assert (row.state, row.errors) == ("FAILED", [problem])
    assert "there is no column 'incom'" in (row.reason or "")
    assert yard.trials(study_id) == []


def test_a_pulled_trial_begins_with_the_end_of_the_one_before(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 3, "parallel": 1}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt

    settled = worker.finish(attempt, 0.4, pull=True)

    assert settled.next is not None
    assert settled.next.attempt.number == 1
    assert yard.states(study_id) == ["COMPLETE", "RUNNING"]
    assert yard.jobs() == set()  # it was never queued


def test_no_more_trials_are_open_than_may_run_at_once(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 10, "parallel": 3}))
    assert yard.states(study_id) == ["QUEUED"] * 3
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    assert len(yard.trials(study_id)) == 3
    worker.finish(attempt, 0.1)
    assert yard.states(study_id) == ["COMPLETE"] + ["QUEUED"] * 3


def test_without_parallel_as_many_trials_are_open_as_the_pool_has_slots(yard: Yard) -> None:
    yard.worker("w1").beat()
    yard.worker("w2").beat()
    study_id = yard.begin(study(budget={"trials": 10}))
    yard.clock.advance(2)
    yard.turn()
    assert yard.states(study_id) == ["QUEUED"] * 2


def test_the_same_message_twice_is_settled_once_and_answered_alike(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 5, "parallel": 1}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    finish = Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}, pull=True)
    sequence = worker.post(finish)
    worker.post(finish, sequence)
    yard.turn()

    assert worker.answer() == worker.answer() is not None
    assert yard.states(study_id) == ["COMPLETE", "RUNNING"]


def test_a_step_reported_twice_counts_once(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.report(attempt, 1, 0.5)
    worker.report(attempt, 1, 0.9)
    assert [row.metrics for row in yard.reports(study_id, 0)] == [{METRIC: 0.5}]


@pytest.mark.parametrize("restarts", [False, True])
def test_what_a_second_report_adds_to_a_step_counts_and_what_it_repeats_does_not(yard: Yard, restarts: bool) -> None:
    pruner = {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0}
    study_id = yard.begin(study(pruner=pruner))
    worker, other = yard.worker(), yard.worker("b")
    good, bad = worker.start(study_id, 0).attempt, other.start(study_id, 1).attempt
    worker.report(good, 1, 0.1)
    worker.finish(good, 0.1)

    assert other.report(bad, 1, {"train/loss": 3.0}).decision == "continue"
    if restarts:
        yard.restart()
    assert other.report(bad, 1, {"train/loss": 4.0, METRIC: 0.9}).decision == "prune"

    assert [row.metrics for row in yard.reports(study_id, 1)] == [{"train/loss": 3.0, METRIC: 0.9}]
    assert yard.trials(study_id)[1].metrics == {"train/loss": 3.0, METRIC: 0.9}


def test_the_parts_of_a_step_may_come_in_one_batch_and_in_any_order(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    for step, metrics in ((2, {"a": 1.0}), (2, {METRIC: 0.2}), (1, {"a": 5.0}), (1, {METRIC: 0.1}), (2, {"a": 7.0})):
        worker.post(Report(attempt=attempt, step=step, metrics=metrics))
    yard.turn()
    assert worker.report(attempt, 1, {"b": 6.0}).decision == "continue"

    assert [(row.step, row.metrics) for row in yard.reports(study_id, 0)] == [
        (1, {"a": 5.0, METRIC: 0.1, "b": 6.0}),
        (2, {"a": 1.0, METRIC: 0.2}),
    ]
    trial = yard.trials(study_id)[0]
    assert (trial.step, trial.metrics) == (2, {"a": 1.0, METRIC: 0.2})


def test_a_trial_that_fails_is_not_tried_again(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 1}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.finish(attempt, outcome="failed", reason="diverged at epoch 3")
    first = yard.trials(study_id)[0]
    assert (first.state, first.reason) == ("FAILED", "diverged at epoch 3")
    assert yard.states(study_id) == ["FAILED", "QUEUED"]
    worker.finish(worker.start(study_id, 1).attempt, 0.2)
    assert yard.study(study_id).state == "COMPLETE"


def test_a_study_in_which_every_trial_fails_has_failed(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 1}))
    worker = yard.worker()
    for number in range(2):
        worker.finish(worker.start(study_id, number).attempt, outcome="failed", reason="out of device memory")
    assert yard.study(study_id).state == "FAILED"
    assert yard.study(study_id).reason == "all 2 trials failed; the last one: out of device memory"


def test_too_many_failures_end_the_study(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 10, "parallel": 2, "max_failed": 1}))
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt, outcome="failed", reason="no")
    assert yard.study(study_id).state == "RUNNING"
    worker.finish(worker.start(study_id, 1).attempt, outcome="failed", reason="no")
    assert yard.study(study_id).state == "FAILED"
    assert yard.states(study_id) == ["FAILED", "FAILED", "CANCELLED"]


def test_a_grid_runs_every_cell_once_and_failed_ones_again(yard: Yard) -> None:
    document = study(
        parameters={"k": {"values": ["a", "b", "c"]}}, sampler={"name": "grid"}, budget={"parallel": 1, "retries": 1}
    )
    study_id = yard.begin(document)
    worker = yard.worker()
    cells = []
    while (queued := [trial for trial in yard.trials(study_id) if trial.state == "QUEUED"]) != []:
        attempt = worker.start(study_id, queued[0].number).attempt
        cells.append(queued[0].parameters["k"])
        end = {"outcome": "failed", "reason": "no"} if cells[-1] == "b" else {"metrics": {METRIC: 1.0}}
        worker.finish(attempt, **end)
    assert cells == ["a", "b", "c", "b"]  # b fails, and once more: retries are 1
    assert yard.study(study_id).state == "COMPLETE"


def test_a_grid_that_only_fails_ends_although_any_number_of_trials_may_fail(yard: Yard) -> None:
    wide = {f"x{place}": {"low": 0, "high": 999} for place in range(4)}  # 10^12 cells
    budget = {"trials": 2, "parallel": 1, "retries": 1, "max_failed": None}
    study_id = yard.begin(study(parameters=wide, sampler={"name": "grid"}, budget=budget))
    worker = yard.worker()
    for number in range(4):  # each of two trials, and each once more
        worker.finish(worker.start(study_id, number).attempt, outcome="failed", reason="no")

    assert yard.study(study_id).state == "FAILED"
    assert yard.states(study_id) == ["FAILED"] * 4


def test_a_finish_without_the_objective_fails_the_trial_with_a_sentence(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt)
    assert "'val/loss' is missing and was never reported" in (yard.trials(study_id)[0].reason or "")


def test_a_finish_without_the_objective_takes_the_last_report(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.report(attempt, 1, 0.5)
    worker.report(attempt, 2, 0.25)
    worker.finish(attempt)
    assert yard.trials(study_id)[0].values == {METRIC: 0.25}


def test_the_median_pruner_stops_a_trial_that_lags_behind(yard: Yard) -> None:
    pruner = {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0}
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 1}, pruner=pruner))
    worker = yard.worker()
    good = worker.start(study_id, 0).attempt
    worker.report(good, 1, 0.1)
    worker.finish(good, 0.1)
    bad = worker.start(study_id, 1).attempt
    assert worker.report(bad, 1, 0.9).decision == "prune"  # 0.9 is worse than the median 0.1 of one
    worker.finish(bad, outcome="pruned")
    assert yard.states(study_id) == ["COMPLETE", "PRUNED"]


def test_pausing_tells_what_runs_to_pause_and_resuming_goes_on_from_there(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 2}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    yard.set_state(study_id, StudyState.PAUSED)
    assert yard.states(study_id) == ["RUNNING", "WAITING"]
    assert isinstance(yard.worker("w2").take(study_id, 1), Nothing)  # a job that was still in the queue

    assert worker.report(attempt, 1, 0.5).decision == "pause"
    worker.finish(attempt, outcome="paused")
    assert yard.states(study_id) == ["PAUSED", "WAITING"]

    yard.set_state(study_id, StudyState.RUNNING)
    assert yard.states(study_id) == ["QUEUED", "QUEUED"]
    again = worker.start(study_id, 0)
    assert (again.attempt.attempt, again.resumable) == (2, [1])
    assert yard.trials(study_id)[0].retries == 0


def test_cancelling_ends_every_open_trial_and_the_worker_hears_of_it(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 2}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    yard.set_state(study_id, StudyState.CANCELLED)

    assert yard.states(study_id) == ["CANCELLED", "CANCELLED"]
    answer = worker.report(attempt, 1, 0.5)
    assert (answer.decision, answer.stale) == ("stop", True)
    assert yard.reports(study_id, 0) == []
    assert yard.attempts(study_id, 0)[0].outcome == "cancelled"


def test_after_the_timeout_running_trials_stop_and_count(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 9, "parallel": 2, "timeout": "1h"}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.report(attempt, 1, 0.5)
    yard.clock.advance(3601)
    worker.beat()

    assert worker.report(attempt, 2, 0.4).decision == "stop"
    worker.finish(attempt, 0.4)
    assert yard.states(study_id) == ["COMPLETE", "CANCELLED"]
    assert (yard.study(study_id).state, yard.study(study_id).reason) == ("COMPLETE", "budget.timeout was reached")


def test_reuse_takes_a_twins_value_without_running_it(yard: Yard) -> None:
    # One parameter with two values, three trials of random search: by the third at the latest there is a twin.
    document = study(parameters={"k": {"values": ["a", "b"]}}, budget={"trials": 3, "parallel": 1}, duplicates="reuse")
    study_id = yard.begin(document)
    worker = yard.worker()
    while (queued := [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]) != []:
        attempt = worker.start(study_id, queued[0]).attempt
        worker.finish(attempt, float(queued[0]))
    trials = yard.trials(study_id)
    reused = [trial for trial in trials if trial.reason and trial.reason.startswith("the same parameters as trial")]
    assert reused
    for trial in reused:
        twin = trials[int((trial.reason or "").rsplit(" ", 1)[1])]
        assert (trial.parameters, trial.values) == (twin.parameters, twin.values)
        assert yard.attempts(study_id, trial.number) == []
    assert yard.study(study_id).state == "COMPLETE"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("restarts", [False, True])
def test_what_is_reused_is_a_complete_trials_with_its_metrics(yard: Yard, restarts: bool) -> None:
    """All trials are twins: 0 fails and is of no use, 1 runs, the others take over what it has."""
    document = study(parameters={"k": {"values": ["a"]}}, budget={"trials": 5, "parallel": 1}, duplicates="reuse")
    study_id = yard.begin(document)
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt, outcome="failed", reason="it diverged")
    one = worker.start(study_id, 1).attempt
    worker.report(one, 3, 0.5)
    if restarts:
        yard.restart()
    worker.finish(one, 0.25)

    trials = yard.trials(study_id)
    assert [trial.state for trial in trials] == ["FAILED"] + ["COMPLETE"] * 4
    for trial in trials[2:]:
        assert (trial.values, trial.metrics, trial.step) == ({METRIC: 0.25}, {METRIC: 0.25}, 3)
        assert trial.reason == "the same parameters as trial 1"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("restarts", [False, True])
def test_of_several_twins_the_first_is_reused_whichever_ended_first(yard: Yard, restarts: bool) -> None:
    document = study(parameters={"k": {"values": ["a"]}}, budget={"trials": 3, "parallel": 2}, duplicates="reuse")
    study_id = yard.begin(document)
    first, second = yard.worker("w1"), yard.worker("w2")
    attempts = first.start(study_id, 0).attempt, second.start(study_id, 1).attempt
    yard.set_state(study_id, StudyState.PAUSED)
    second.finish(attempts[1], 0.25)
    first.finish(attempts[0], 0.5)
    if restarts:
        yard.restart()
    yard.set_state(study_id, StudyState.RUNNING)

    [*_, last] = yard.trials(study_id)
    assert (last.values, last.reason) == ({METRIC: 0.5}, "the same parameters as trial 0")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_asks_for_trials_gets_those_that_are_left_to_run(yard: Yard) -> None:
    """Of two values one is measured: whatever repeats it is complete at once, and is not handed out."""
    choices = {"parameters": {"k": {"values": ["a", "b"]}}, "budget": {"trials": 12}}
    study_id = yard.submit(study(**choices, duplicates="reuse", trial={"kind": "external"}))
    worker = yard.worker()
    [first] = worker.ask(study_id).items
    worker.finish(first.attempt, 0.5)

    given = worker.ask(study_id, 3).items

    assert len(given) == 3
    assert all(each.parameters != first.parameters for each in given)
    reused = [trial for trial in yard.trials(study_id) if trial.state == "COMPLETE"][1:]
    assert reused
    assert all(trial.parameters == first.parameters for trial in reused)


def test_resample_avoids_a_twin_while_there_is_something_else(yard: Yard) -> None:
    document = study(
        parameters={"k": {"values": list("abcd")}}, budget={"trials": 4, "parallel": 4}, duplicates="resample"
    )
    study_id = yard.begin(document)
    assert sorted(trial.parameters["k"] for trial in yard.trials(study_id)) == list("abcd")


def test_a_deleted_study_is_forgotten_and_nothing_breaks(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    with yard.engine.begin() as connection:
        connection.execute(delete(StudyRow).where(StudyRow.id == study_id))
    yard.clock.advance(2)
    yard.turn()
    answer = worker.say(Report(attempt=attempt, step=1, metrics={METRIC: 0.5}))
    assert answer.stale  # type: ignore[union-attr]


def test_garbage_on_the_stream_is_dropped_and_the_rest_is_served(yard: Yard) -> None:
    study_id = yard.begin(study())
    yard.client.xadd("trialyard:reports", {"m": b"\xff not json"})
    yard.client.xadd("trialyard:reports", {"other": "field"})
    assert isinstance(yard.worker().take(study_id, 0), Assignment)
    assert yard.client.xlen("trialyard:reports") == 0


# Trials for workers that are not ours


@pytest.fixture
def external(yard: Yard) -> int:
    return yard.submit(study("ext", trial={"kind": "external"}, budget={"trials": 3}))


def test_ask_hands_out_trials_up_to_the_budget(yard: Yard, external: int) -> None:
    worker = yard.worker("mine")
    assert [item.attempt.number for item in worker.ask(external, count=2).items] == [0, 1]
    assert [item.attempt.number for item in worker.ask(external, count=2).items] == [2]
    assert worker.ask(external).items == []
    assert yard.jobs() == set()


def test_tell_completes_and_an_older_attempts_token_is_refused(yard: Yard, external: int) -> None:
    worker = yard.worker("mine")
    attempt = worker.ask(external).items[0].attempt
    yard.clock.advance(yard.settings.external_lease_seconds + 1)
    yard.turn()
    assert yard.states(external) == ["WAITING"]
    again = worker.ask(external).items[0].attempt
    assert (again.number, again.attempt) == (0, 2)

    assert worker.finish(attempt, 0.1).stale
    assert not worker.finish(again, 0.2).stale
    assert yard.trials(external)[0].values == {METRIC: 0.2}


def test_an_external_worker_lives_while_it_reports(yard: Yard, external: int) -> None:
    attempt = yard.worker("api-1").ask(external).items[0].attempt
    for step in range(4):  # each request of the API comes from another sender
        yard.clock.advance(yard.settings.external_lease_seconds * 0.6)
        assert yard.worker(f"api-{step + 2}").report(attempt, step, 0.5).decision == "continue"
    assert yard.states(external) == ["RUNNING"]


def test_a_pruned_external_trial_is_settled_with_the_decision(yard: Yard) -> None:
    pruner = {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0}
    study_id = yard.submit(study("ext", trial={"kind": "external"}, budget={"trials": 2}, pruner=pruner))
    worker = yard.worker("mine")
    good, bad = (item.attempt for item in worker.ask(study_id, count=2).items)
    worker.report(good, 1, 0.1)
    worker.finish(good, 0.1)
    assert worker.report(bad, 1, 0.9).decision == "prune"
    assert yard.states(study_id) == ["COMPLETE", "PRUNED"]
    assert yard.study(study_id).state == "COMPLETE"


def test_a_tell_without_the_objective_is_refused_and_may_be_repeated_rightly(yard: Yard, external: int) -> None:
    worker = yard.worker("mine")
    attempt = worker.ask(external).items[0].attempt
    refused = worker.say(Finish(attempt=attempt, outcome="finished", metrics={"other": 1.0}))
    assert isinstance(refused, Refused)
    assert METRIC in refused.message
    assert isinstance(worker.say(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 1.0})), Settled)
    assert yard.states(external) == ["COMPLETE"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_has_not_counted_its_trials_looks_each_up_by_its_key(yard: Yard) -> None:
    yard.begin(study(budget={"trials": 400, "parallel": 400}))
    with yard.engine.begin() as connection:
        connection.exec_driver_sql(_BY_INDEX)
        change = _update(TrialRow.metadata.tables["trial"], ("study_id", "number", "step"), None)
        plan = list(connection.exec_driver_sql(f"EXPLAIN {change}".replace("$1", "'[]'")).scalars())
    assert any("pk_trial" in line for line in plan), plan
