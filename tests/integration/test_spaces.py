"""Spaces that change under a running study, and studies that begin with what another one has learned."""

from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from search.definition import parse
from search.samplers import reseed
from search.warm_start import warm_trials
from store.errors import DefinitionError
from store.messages import Amend, Done, Enqueue, Refused
from store.models import StudyRow, WarmTrialRow
from store.session import reads, writes
from tests.yard import METRIC, Yard, study

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
TPE = {"name": "tpe", "seed": 3, "n_startup_trials": 3}
BUDGET = {"trials": 12, "parallel": 1}
OLD = {"x": {"low": 0.0, "high": 1.0}, "k": {"values": ["a", "b"]}}
NEW = {"x": {"low": 0.25, "high": 2.0}, "k": {"values": ["b", "a", "c"]}}


def run(yard: Yard, study_id: int, numbers: range) -> None:
    """One trial after another; smaller x is better."""
    for number in numbers:
        assignment = yard.worker().start(study_id, number)
        yard.worker().finish(assignment.attempt, value(assignment.parameters))


def value(parameters: dict[str, Any]) -> float:
    return float(parameters["x"]) + "abc".index(parameters["k"])


def edit(yard: Yard, study_id: int, **changes: Any) -> object:
    return yard.worker("api").say(Amend(study_id=study_id, **changes))


@pytest.mark.parametrize("restarts", [False, True])
def test_the_sampler_learns_from_the_trials_that_fit_the_new_space(yard: Yard, restarts: bool) -> None:
    """Optuna itself refuses choices that change; what it would propose is asked of a study that holds the fitting ones
    with the distributions of the new space."""
    study_id = yard.begin(study(parameters=OLD, sampler=TPE, budget=BUDGET))
    run(yard, study_id, range(6))

    assert edit(yard, study_id, parameters=NEW) == Done()
    if restarts:
        yard.restart()
    run(yard, study_id, range(6, 9))  # trial 6 was proposed in the old space and runs on
    if restarts:
        yard.restart()

    trials = yard.trials(study_id)
    assert [trial.space_version for trial in trials] == [1] * 7 + [2] * 3
    outside = [trial.number for trial in trials[:7] if trial.parameters["x"] < 0.25]
    assert outside  # else nothing is tested
    assert 6 - len(outside) >= 3
    x, k = FloatDistribution(0.25, 2.0), CategoricalDistribution(("b", "a", "c"))
    for number in range(7, 10):
        assert trials[number].parameters == stock_proposal(number, trials[:number], {"x": x, "k": k})


def stock_proposal(
    number: int, before: list[Any], space: dict[str, BaseDistribution], most: float | None = None
) -> dict[str, Any]:
    """What Optuna's own TPE proposes for a trial, after those before it, whose `size` is to be at most so much."""
    sampler = optuna.samplers.TPESampler(n_startup_trials=3, multivariate=True, constant_liar=True)
    reference = optuna.create_study(sampler=sampler)
    for trial in before:
        if all(each._contains(each.to_internal_repr(trial.parameters[name])) for name, each in space.items()):
            attrs = {} if most is None else {"constraints:size at_most": trial.metrics["size"] - most}
            done = create_trial(
                params=trial.parameters, distributions=space, value=value(trial.parameters), system_attrs=attrs
            )
        else:
            done = create_trial(state=TrialState.FAIL)
        reference.add_trial(done)
    reseed(sampler, 3, number)
    return dict(reference.ask(space).params)


@on_sqlite
def test_what_a_trial_trained_with_stands_in_for_a_knob_that_is_added(yard: Yard) -> None:
    """The section `trial` says what dropout the first trials had, and the trainer's default what weight decay."""
    section = {"kind": "train", "data": {"source": "sklearn:digits"}, "regularization": {"dropout": 0.1}}
    lr = {"optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True}}
    added = {
        "regularization.dropout": {"low": 0.0, "high": 0.5},
        "optimizer.weight_decay": {"low": 0.0, "high": 0.1},
    }
    study_id = yard.begin(study(parameters=lr, sampler=TPE, budget=BUDGET, trial=section))
    worker = yard.worker()
    for number in range(3):
        worker.finish(worker.start(study_id, number).attempt, number / 10)

    assert edit(yard, study_id, parameters=added) == Done()

    held = yard.scheduler._studies[study_id].optuna._study.trials
    assert [trial.params["regularization.dropout"] for trial in held[:3]] == [0.1] * 3
    assert [trial.params["optimizer.weight_decay"] for trial in held[:3]] == [0.0] * 3
    assert yard.trials(study_id)[0].parameters.keys() == lr.keys()  # what is stored is what it was given


@pytest.mark.parametrize("restarts", [False, True])
@on_sqlite
def test_a_grid_grows_by_its_new_points_alone(yard: Yard, restarts: bool) -> None:
    """Of a, b × 1, 2 three points have run when a goes and c and 3 come: b, c × 1, 2, 3 are left but for b1 and b2."""
    parameters = {"k": {"values": ["a", "b"]}, "n": {"low": 1, "high": 2}}
    study_id = yard.begin(study(parameters=parameters, sampler={"name": "grid"}, budget={"parallel": 1}))
    worker = yard.worker()
    for number in range(3):
        worker.finish(worker.start(study_id, number).attempt, 0.0)

    assert edit(yard, study_id, parameters={"k": {"values": ["b", "c"]}, "n": {"low": 1, "high": 3}}) == Done()
    if restarts:
        yard.restart()
    while yard.study(study_id).state == "RUNNING":
        waiting = next(trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED")
        worker.finish(worker.start(study_id, waiting).attempt, 0.0)

    points = [(trial.parameters["k"], trial.parameters["n"]) for trial in yard.trials(study_id)]
    assert points[:4] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert sorted(points[4:]) == [("b", 3), ("c", 1), ("c", 2), ("c", 3)]
    assert yard.study(study_id).state == "COMPLETE"


@pytest.mark.parametrize(("retries", "fails"), [(0, True), (2, True), (2, False)])
@pytest.mark.parametrize("restarts", [False, True])
@on_sqlite
def test_a_grid_runs_to_its_end_after_each_of_several_changes(
    yard: Yard, restarts: bool, retries: int, fails: bool
) -> None:
    """Of 0, 1 the first may fail; then 2 comes for 0, and 3 for 1: each is tried before the study ends again."""
    budget = {"parallel": 1, "retries": retries}
    study_id = yard.begin(study(parameters={"x": {"low": 0, "high": 1}}, sampler={"name": "grid"}, budget=budget))

    def run_to_the_end() -> list[int]:
        while yard.study(study_id).state == "RUNNING":
            if restarts:
                yard.restart()
            trial = next(trial for trial in yard.trials(study_id) if trial.state == "QUEUED")
            attempt = yard.worker().start(study_id, trial.number).attempt
            if fails and trial.parameters["x"] == 0:
                yard.worker().finish(attempt, outcome="failed", reason="it broke")
            else:
                yard.worker().finish(attempt, 1.0)
        return [trial.parameters["x"] for trial in yard.trials(study_id)]

    tried = [0, 1] + [0] * retries * fails
    assert run_to_the_end() == tried
    for low in (1, 2):
        edit(yard, study_id, parameters={"x": {"low": low, "high": low + 1}})
        yard.turn()
        assert run_to_the_end() == [*tried, *range(2, low + 2)]
    assert yard.study(study_id).state == "COMPLETE"


@on_sqlite
def test_a_grid_that_was_to_run_in_part_keeps_its_number_of_trials(yard: Yard) -> None:
    parameters = {"n": {"low": 1, "high": 5}}
    study_id = yard.begin(study(parameters=parameters, sampler={"name": "grid"}, budget={"trials": 3, "parallel": 1}))

    assert edit(yard, study_id, parameters={"n": {"low": 1, "high": 9}}) == Done()
    assert yard.study(study_id).definition["budget"]["trials"] == 3


@on_sqlite
def test_wishes_that_meet_in_one_batch_do_not_undo_each_other(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 4, "parallel": 1}))
    first, second, third = (yard.worker(name) for name in ("a", "b", "c"))
    first.post(Amend(study_id=study_id, parameters={"x": {"low": 0.0, "high": 2.0}}))
    second.post(Amend(study_id=study_id, parameters={"y": {"values": [1, 2]}}))
    third.post(Enqueue(study_id=study_id, parameters={"x": 0.5, "k": "a"}))  # of a space that is going
    yard.turn()

    assert (first.answer(), second.answer()) == (Done(), Done())
    assert isinstance(third.answer(), Refused)
    row = yard.study(study_id)
    assert row.definition["parameters"] == {
        "x": {"low": 0.0, "high": 2.0},
        "k": {"values": ["a", "b", "c"]},
        "y": {"values": [1, 2]},
    }
    assert [list(past["parameters"]) for past in row.past_spaces] == [["x", "k"], ["x", "k"]]
    run(yard, study_id, range(1))
    assert yard.trials(study_id)[1].space_version == 3


@on_sqlite
@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_evolution_goes_on_where_a_single_parent_fits_the_new_space(yard: Yard, name: str) -> None:
    sampler = {"name": name, "seed": 3, "population_size": 4}
    study_id = yard.begin(study(parameters={"x": {"low": 0.0, "high": 1.0}}, sampler=sampler, budget=BUDGET))
    worker = yard.worker()

    def run_to(number: int) -> None:
        for each in range(len(yard.trials(study_id)) - 1, number):
            given = worker.start(study_id, each)
            worker.finish(given.attempt, given.parameters["x"])

    run_to(8)
    points = sorted((trial.parameters["x"], trial.number // 4) for trial in yard.trials(study_id)[:8])
    # Of two neighbours one is of the first generation and one of the second; all others are left out.
    low, high = next((x, y) for (x, ours), (y, theirs) in itertools.pairwise(points) if ours != theirs)
    edit(yard, study_id, parameters={"x": {"low": low, "high": high}})
    run_to(12)

    assert yard.states(study_id) == ["COMPLETE"] * 12
    assert all(low <= trial.parameters["x"] <= high for trial in yard.trials(study_id)[9:])


def begin_warm(yard: Yard, **sections: Any) -> int:
    """What the API does for a study with `warm_start`."""
    document = study("target", parameters=NEW, sampler=TPE, budget=BUDGET, warm_start={"study": "s"}, **sections)
    definition = parse(document)
    with writes(yard.engine).begin() as session:
        assert definition.warm_start is not None
        warm = warm_trials(session, definition, definition.warm_start)
        row = StudyRow(name="target", state="RUNNING", definition=definition.document(), created_at=yard.clock.now())
        row.warm_start = warm.summary()
        session.add(row)
        session.flush()
        for trial in warm.rows:
            trial.study_id = row.id
        session.add_all(warm.rows)
        study_id = row.id
    yard.wake(study_id)
    return study_id


@pytest.mark.parametrize("restarts", [False, True])
def test_another_studys_trials_teach_the_first_proposal_and_are_not_counted(yard: Yard, restarts: bool) -> None:
    source = yard.begin(study(parameters=OLD, sampler=TPE, budget=BUDGET))
    run(yard, source, range(8))
    outside = [trial.number for trial in yard.trials(source)[:8] if trial.parameters["x"] < 0.25]
    assert outside

    study_id = begin_warm(yard)
    if restarts:
        yard.restart()
    run(yard, study_id, range(2))
    if restarts:
        yard.restart()

    row = yard.study(study_id)
    assert row.warm_start is not None
    assert row.warm_start["taken"] == 8 - len(outside)
    reason = 'parameters.x: lies outside of this study\'s space; it takes {"low": 0.25, "high": 2.0}'
    assert row.warm_start["left_out"] == [{"reason": reason, "trials": len(outside), "first": outside[0]}]
    taken = [trial for trial in yard.trials(source)[:8] if trial.number not in outside]
    ours = yard.trials(study_id)
    assert [trial.number for trial in ours] == [0, 1, 2]  # numbers, and with them the budget, begin at 0
    x, k = FloatDistribution(0.25, 2.0), CategoricalDistribution(("b", "a", "c"))
    for number in range(3):
        assert ours[number].parameters == stock_proposal(number, [*taken, *ours[:number]], {"x": x, "k": k})


@pytest.mark.parametrize("restarts", [False, True])
def test_another_studys_trials_are_held_against_the_constraints_of_this_one(yard: Yard, restarts: bool) -> None:
    """What is best over there is too large here. The trial without a size teaches nothing."""
    inside = {"x": {"low": 0.25, "high": 1.0}, "k": {"values": ["a", "b"]}}
    source, worker = yard.begin(study(parameters=inside, sampler=TPE, budget=BUDGET)), yard.worker()
    for number in range(8):
        given = worker.start(source, number)
        sizes = {"size": 1 - given.parameters["x"]} if number != 2 else {}
        worker.finish(given.attempt, metrics={METRIC: value(given.parameters), **sizes})
    before = [trial for trial in yard.trials(source)[:8] if trial.number != 2]
    most = sorted(trial.metrics["size"] for trial in before if trial.metrics)[3]

    study_id = begin_warm(yard, constraints=[{"metric": "size", "at_most": most}])
    for number in range(3):
        if restarts:
            yard.restart()
        given = worker.start(study_id, number)
        worker.finish(given.attempt, metrics={METRIC: value(given.parameters), "size": 1 - given.parameters["x"]})

    reason = "constraints[0].metric: it reported no size"
    told = yard.study(study_id).warm_start
    assert told == {"study": "s", "taken": 7, "left_out": [{"reason": reason, "trials": 1, "first": 2}]}
    ours = yard.trials(study_id)
    x, k = FloatDistribution(0.25, 2.0), CategoricalDistribution(("b", "a", "c"))
    for number in range(3):
        expected = stock_proposal(number, [*before, *ours[:number]], {"x": x, "k": k}, most)
        assert ours[number].parameters == expected


@on_sqlite
def test_a_warm_start_outlives_its_source_and_is_deleted_with_its_study(yard: Yard) -> None:
    source = yard.begin(study(parameters=OLD, sampler=TPE, budget=BUDGET))
    run(yard, source, range(5))
    study_id = begin_warm(yard, pruner={"name": "median", "n_startup_trials": 1})

    with writes(yard.engine).begin() as session:
        session.delete(session.get_one(StudyRow, source))
    yard.restart()

    taken = yard.study(study_id).warm_start
    assert taken is not None
    with reads(yard.engine)() as session:
        assert session.query(WarmTrialRow).count() == taken["taken"] > 0
    first = yard.worker().start(study_id, 0).attempt
    assert yard.worker().report(first, 1, 1e9).decision == "continue"  # no trial of this study is complete yet
    with writes(yard.engine).begin() as session:
        session.delete(session.get_one(StudyRow, study_id))
    with reads(yard.engine)() as session:
        assert session.query(WarmTrialRow).count() == 0


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"warm_start": {"study": "nobody"}}, "warm_start.study: there is no study named 'nobody'"),
        (
            {"warm_start": {"study": "s"}, "objective": {"metric": METRIC, "direction": "maximize"}},
            "warm_start.study: 's' searched by",
        ),
        (
            {"warm_start": {"study": "s"}, "sampler": {"name": "random"}},
            "warm_start: the sampler random learns from no",
        ),
        ({"warm_start": {"study": "s", "best": 3}}, "warm_start.best: is no key"),
    ],
)
@on_sqlite
def test_a_warm_start_that_can_teach_nothing_is_refused(yard: Yard, sections: dict[str, Any], message: str) -> None:
    yard.submit(study())
    document = study("target", **({"sampler": TPE} | sections))

    def make() -> None:
        definition = parse(document)
        assert definition.warm_start is not None
        warm_trials(session, definition, definition.warm_start)

    with reads(yard.engine)() as session, pytest.raises(DefinitionError) as caught:
        make()

    assert str(caught.value).startswith(message)
