"""Trials that begin with the weights of the nearest finished one, from the scheduler's choice to the training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from search.definition import parse
from search.heritage import Heritage
from store.artifacts import Artifacts
from store.errors import DefinitionError
from store.messages import Assignment, AttemptKey, Enqueue, Finish
from tests.yard import Yard, study
from trainer.errors import ModelError
from worker.library import Library
from worker.training import Training

KNOBS = {
    "model.depth": {"low": 1, "high": 3},
    "model.hidden.0": {"values": [8, 16, 64]},
    "model.hidden.1": {"values": [8, 16, 64], "when": {"model.depth": {"at_least": 2}}},
    "model.hidden.2": {"values": [8, 16, 64], "when": {"model.depth": {"at_least": 3}}},
    "optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True},
}
TRIAL = {
    "kind": "train",
    "data": {"source": "sklearn:iris"},
    "model": {"norm": "batch"},
    "transfer": {"inherit": "nearest"},
    "epochs": 2,
}


def inheriting(**sections: Any) -> dict[str, Any]:
    budget = {"trials": 5, "parallel": 1}
    return study(parameters=KNOBS, trial=TRIAL, budget=budget) | sections


def point(*widths: int, lr: float = 0.01) -> dict[str, Any]:
    layers = {f"model.hidden.{place}": width for place, width in enumerate(widths)}
    return {"model.depth": len(widths), **layers, "optimizer.lr": lr}


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (point(8, 8), 1),
        (point(8, 8, 8), 1),  # one layer more: half of depth's range, and the layer; from trial 0 twice that
        (point(8, lr=0.9), 3),  # the same model as trial 0, and a learning rate that is nearer
        (point(8, lr=0.01), 0),
        (point(64, 16), 2),  # 64 and 16 are places of a list: next to each other
    ],
)
def test_the_nearest_is_near_by_its_model_and_then_by_all_else(wanted: dict[str, Any], number: int) -> None:
    heritage = Heritage(7, parse(inheriting()))
    assert heritage.choose(wanted) is None
    for place, known in enumerate([point(8), point(8, 16), point(64, 64), point(8, lr=0.5)]):
        heritage.leaves(place, attempt=2, parameters=known)

    assert heritage.choose(wanted) == number
    assert heritage.model_of(number) == AttemptKey(7, number, 2)


def test_trials_of_an_older_space_are_far_away_where_their_values_are_none_of_this_one() -> None:
    heritage = Heritage(7, parse(inheriting()))
    heritage.leaves(0, 1, point(8) | {"optimizer.lr": "auto"})
    heritage.leaves(1, 1, point(8) | {"optimizer.lr": 0.0, "model.hidden.0": 9})
    heritage.leaves(2, 1, point(8, lr=0.9))

    assert heritage.choose(point(8, lr=0.0001)) == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_choice_is_kept_with_the_trial_over_lost_attempts_and_restarts(yard: Yard) -> None:
    study_id = yard.begin(inheriting(budget={"trials": 5, "parallel": 2}))
    worker, other = yard.worker(), yard.worker("other")
    first = worker.start(study_id, 0)
    assert first.inherits is None
    worker.finish(first.attempt, 0.5)
    yard.restart()
    second = worker.start(study_id, 1)
    assert second.inherits == first.attempt
    # A trial that is nearer, being the same, is complete before the second attempt begins.
    yard.worker("api").say(Enqueue(study_id=study_id, parameters=second.parameters))
    for number in (2, 3):
        other.finish(other.start(study_id, number).attempt, 0.4)
    assert yard.trials(study_id)[3].parameters == second.parameters
    worker.say(Finish(attempt=second.attempt, outcome="returned"))
    yard.restart()

    again = worker.start(study_id, 1)

    assert again.attempt.attempt == 2
    assert again.inherits == first.attempt
    assert [trial.inherits for trial in yard.trials(study_id)[:2]] == [None, 0]
    assert yard.trials(study_id)[3].inherits is not None
    assert other.start(study_id, 4).inherits is not None


def test_a_study_that_shall_come_out_the_same_twice_has_no_heritage() -> None:
    budget = {"trials": 5, "parallel": 1}

    with pytest.raises(DefinitionError, match=r"trial\.transfer\.inherit: begins with whichever trial has ended"):
        parse(inheriting(deterministic=True, budget=budget))
    pretrained = {**TRIAL, "model": {"name": "pretrained", "source": "trial:other/1"}}
    begins_elsewhere = study(parameters={"optimizer.lr": KNOBS["optimizer.lr"]}, trial=pretrained)
    with pytest.raises(DefinitionError, match=r"trial\.transfer\.inherit: a pretrained model begins with its source"):
        parse(begins_elsewhere)
    searched = study(
        parameters={"transfer.inherit": {"values": ["none", "nearest"]}},
        trial={"kind": "train", "data": {"source": "sklearn:iris"}},
    )
    assert parse(searched).may_inherit


class Told:
    """A reporter that remembers lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, _epoch: int, _metrics: object) -> str:
        return "continue"

    def log(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    logging.getLogger().setLevel(logging.WARNING)
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    return Training(artifacts, Library(artifacts, (), tmp_path / "datasets"), "cpu")


def assignment(number: int, hidden: list[int], inherits: AttemptKey | None = None, **more: Any) -> Assignment:
    trial = {**TRIAL, "model": {"hidden": hidden, "norm": "batch"}, **more}
    return Assignment(
        attempt=AttemptKey(1, number, 1),
        study="study",
        parameters={},
        trial=trial,
        metric="val/loss",
        direction="minimize",
        inherits=inherits,
    )


def run(training: Training, told: Assignment) -> tuple[list[str], dict[str, float]]:
    reporter = Told()
    ending = training.run(told, reporter, should_leave=lambda: False)  # type: ignore[arg-type]
    return reporter.lines, ending.metrics


def test_a_training_begins_with_what_it_is_given_as_far_as_it_fits(training: Training) -> None:
    _, parent = run(training, assignment(0, [16, 8], epochs=20))

    same, metrics = run(training, assignment(1, [16, 8], AttemptKey(1, 0, 1), epochs=1))
    wider, _ = run(training, assignment(2, [32, 8], AttemptKey(1, 0, 1), epochs=1))
    _, alone = run(training, assignment(3, [16, 8], epochs=1))

    assert same[0] == "began with the weights of trial 0: 100% of its own"
    # Of 4*32+32 + 4*32 + 32*8+8 + 4*8 + 8*3+3 = 611 numbers (the norms' statistics among them), 16 columns or rows of
    # the first two layers are new: 4*16+16 + 4*16 + 16*8 = 272.
    assert wider[0] == f"began with the weights of trial 0: {1 - 272 / 611:.0%} of its own"
    assert metrics["val/loss"] < (parent["val/loss"] + alone["val/loss"]) / 2
    with pytest.raises(ModelError, match="the model of trial 9 cannot be read"):
        run(training, assignment(4, [16, 8], AttemptKey(1, 9, 1)))


def test_a_fold_takes_over_from_the_same_fold(training: Training) -> None:
    folds = {"cross_validation": {"folds": 2}, "epochs": 8}
    run(training, assignment(0, [8], **folds))

    lines, _ = run(training, assignment(1, [8], AttemptKey(1, 0, 1), **folds))

    from trainer.heritage import read
    from trainer.model_file import load

    folder = training._artifacts.attempt(AttemptKey(1, 0, 1))
    heritage, members = read("trial 0", folder), load(folder).members
    assert lines[0].endswith("100% of its own")
    for place, member in enumerate(members):
        own = member.model.state_dict()
        assert all((own[name] == tensor).all() for name, tensor in heritage.of_member(place).items())
    assert heritage.of_member(2) == {}
