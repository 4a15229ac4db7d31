"""The sampler gp, whose fits take place in a process of its own while the scheduler goes on."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

import search.gp_process
from search.definition import parse
from search.gp import GpSampler
from search.samplers import seed_of
from store.errors import DefinitionError
from store.messages import Assignment, Done, Enqueue
from tests.unit.search.documents import train
from tests.yard import METRIC, Yard, study

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SEED, START = 7, 3
GP = {"name": "gp", "seed": SEED, "n_startup_trials": START}
PARAMETERS = {
    "lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "layers": {"low": 1, "high": 4},
    "optimizer": {"values": ["adam", "sgd"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": ["sgd"]}},
}


@pytest.fixture
def yard(yard: Yard) -> Iterator[Yard]:
    yield yard
    yard.scheduler._gp.stop()


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        "layers": trial.suggest_int("layers", 1, 4),
        "optimizer": trial.suggest_categorical("optimizer", ["adam", "sgd"]),
    }
    if parameters["optimizer"] == "sgd":
        parameters["momentum"] = trial.suggest_float("momentum", 0.0, 0.9)
    return parameters


def loss(parameters: dict[str, Any]) -> float:
    return (math.log10(parameters["lr"]) + 2.5) ** 2 + 0.1 * parameters["layers"] + parameters.get("momentum", 0.3)


def size(parameters: dict[str, Any]) -> float:
    return parameters["layers"] - 10 * parameters["lr"]  # type: ignore[no-any-return]


def stock(trials: int, both: bool) -> list[dict[str, Any]]:
    """What GPSampler proposes by itself, in one piece, its generators set before each trial."""
    sampler = optuna.samplers.GPSampler(seed=0, n_startup_trials=START, warn_independent_sampling=False)
    reference = optuna.create_study(directions=["minimize"] * (1 + both), sampler=sampler)
    found = []
    for number in range(trials):
        seed = seed_of(SEED, number)
        sampler._rng.rng.seed(seed)
        sampler._independent_sampler._rng.rng.seed(seed)  # type: ignore[attr-defined]
        trial = reference.ask()
        found.append(suggest(trial))
        if both:
            trial.set_constraint("size", size(found[-1]) - 2)
        reference.tell(trial, [loss(found[-1]), size(found[-1])] if both else loss(found[-1]))
    return found


def start(yard: Yard, study_id: int, number: int) -> Assignment:
    """Wait until the trial is proposed, and take it."""
    until = time.monotonic() + 60
    while len(yard.trials(study_id)) <= number and time.monotonic() < until:
        time.sleep(0.01)  # another process computes
        yard.turn()
    return yard.worker().start(study_id, number)


def finish(yard: Yard, assignment: Assignment) -> None:
    metrics = {METRIC: loss(assignment.parameters), "size": size(assignment.parameters)}
    yard.worker().finish(assignment.attempt, metrics=metrics)


TWO = [{"metric": METRIC, "direction": "minimize"}, {"metric": "size", "direction": "minimize"}]
BOTH = {"objective": TWO, "constraints": [{"metric": "size", "at_most": 2}]}


@on_sqlite
@pytest.mark.parametrize(("trials", "both"), [(START + 2, False), (START + 1, True)], ids=["one", "several, bounded"])
def test_proposals_are_optunas_whatever_dies(yard: Yard, trials: int, both: bool) -> None:
    budget = {"trials": trials, "parallel": 1}
    study_id = yard.begin(study(parameters=PARAMETERS, sampler=GP, budget=budget, **(BOTH if both else {})))

    for number in range(trials):
        if not both and number == START:
            assert yard.scheduler._gp.pid is not None
            os.kill(yard.scheduler._gp.pid, signal.SIGKILL)
        if not both and number == START + 1:  # what the fit before has found is in SQL
            yard.scheduler._gp.stop()
            yard.restart()
        finish(yard, start(yard, study_id, number))

    assert [trial.parameters for trial in yard.trials(study_id)] == stock(trials, both)
    assert yard.study(study_id).state == "COMPLETE"
    assert yard.scheduler._gp.pid is None


@on_sqlite
def test_others_go_on_while_it_computes(yard: Yard) -> None:
    ours = yard.begin(study("ours", parameters=PARAMETERS, sampler=GP, budget={"trials": 9, "parallel": 1}))
    for number in range(START):
        finish(yard, start(yard, ours, number))
    assert yard.scheduler._gp.pid is not None
    os.kill(yard.scheduler._gp.pid, signal.SIGSTOP)  # a fit that takes for ever

    other = yard.begin(study("other", budget={"trials": 3, "parallel": 1}))
    for number in range(3):
        yard.worker("w2").finish(yard.worker("w2").start(other, number).attempt, 1.0)
    given = {"lr": 0.01, "layers": 2, "optimizer": "adam"}
    assert yard.worker("api").say(Enqueue(study_id=ours, parameters=given)) == Done(number=START)

    assert (yard.study(other).state, yard.study(ours).state) == ("COMPLETE", "RUNNING")
    assert [trial.parameters for trial in yard.trials(ours)][START:] == [given]
    assert yard.worker().start(ours, START).parameters == given


@on_sqlite
def test_a_scheduler_that_stands_by_gives_the_memory_back(yard: Yard) -> None:
    ours = yard.begin(study(parameters=PARAMETERS, sampler=GP, budget={"trials": 9, "parallel": 1}))
    for number in range(START):
        finish(yard, start(yard, ours, number))
    replaced = yard.scheduler
    assert replaced._gp.pid is not None
    yard.abandon()
    assert yard.new_scheduler()._lease.try_acquire()

    standing_by = threading.Thread(target=replaced.run)
    standing_by.start()
    until = time.monotonic() + 20
    while replaced._gp.pid is not None and time.monotonic() < until:
        time.sleep(0.005)  # of another thread
    found = replaced._gp.pid
    replaced.stop()
    standing_by.join()

    assert found is None


@on_sqlite
def test_a_process_that_dies_again_and_again_costs_the_proposal_only(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The trial is drawn at random; inequalities hold also there."""
    (tmp_path / "dies.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setattr(search.gp_process, "_SCRIPT", tmp_path / "dies.py")
    document = study(parameters=PARAMETERS, sampler=GP, budget={"trials": START + 1, "parallel": 1})
    study_id = yard.begin(document | {"parameter_constraints": ["layers >= 3"]})

    for number in range(START + 1):
        finish(yard, start(yard, study_id, number))

    assert yard.study(study_id).state == "COMPLETE"
    assert all(trial.parameters["layers"] >= 3 for trial in yard.trials(study_id))


@on_sqlite
def test_without_the_extra_the_study_fails_before_any_trial_and_says_what_to_install(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.gp_process, "find_spec", lambda name: None if name == "torch" else object())

    row = yard.study(yard.submit(study(parameters=PARAMETERS, sampler=GP)))

    assert row.state == "FAILED"
    assert row.errors is not None
    (error,) = row.errors
    assert error["path"] == "sampler.name"
    assert "pip install 'trialyard[gp]'" in error["hint"]


def test_it_does_not_outlive_the_scheduler() -> None:
    code = (
        "import time, types\n"
        "from search.gp import Question\n"
        "from search.gp_process import GpProcess\n"
        "study = types.SimpleNamespace(definition=types.SimpleNamespace(sampler=types.SimpleNamespace(name='gp')),\n"
        "                              optuna=types.SimpleNamespace(question=Question(0, {}, {}, print)))\n"
        "process = GpProcess(print)\n"
        "process.attend({1: study})\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stdout is not None
        pid = int(scheduler.stdout.readline())
        scheduler.kill()
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) and time.monotonic() < until:
        time.sleep(0.02)

    assert not Path(f"/proc/{pid}").exists() or "Z" in _state(pid)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


@pytest.mark.parametrize(
    ("sections", "path", "words"),
    [
        ({"sampler": {"name": "gp", "independent_sampler": "tpe"}}, "sampler.independent_sampler", ["no key"]),
        (
            {"sampler": {"name": "gp", "deterministic_objectiv": True}},
            "sampler.deterministic_objectiv",
            ["did you mean"],
        ),
        ({"sampler": {"name": "gp", "n_startup_trials": "3"}}, "sampler.n_startup_trials", ["whole number"]),
        ({"sampler": {"name": "gp"}, "budget": {"trials": 1_001}}, "budget.trials", ["1,000 at most", "such as tpe"]),
    ],
)
def test_its_options_are_checked(sections: dict[str, Any], path: str, words: list[str]) -> None:
    with pytest.raises(DefinitionError) as refused:
        parse(train(**sections))

    (problem,) = refused.value.problems
    assert problem.path == path
    assert all(word in str(problem) for word in words), str(problem)


@on_sqlite
def test_a_part_of_the_study_files_waits_for_the_answer_and_a_persons_is_drawn_at_random(yard: Yard) -> None:
    first = [{"lr": 0.01}, {"lr": 0.02}, {"lr": 0.03}, {"layers": 3}]
    study_id = yard.begin(study(parameters=PARAMETERS, sampler=GP, budget={"trials": 6, "parallel": 1}, enqueue=first))
    sampler = optuna.samplers.GPSampler(seed=0, n_startup_trials=START, warn_independent_sampling=False)
    reference, expected = optuna.create_study(sampler=sampler), list[dict[str, Any]]()
    for number, given in enumerate(first):
        finish(yard, start(yard, study_id, number))
        sampler._rng.rng.seed(seed_of(SEED, number))
        sampler._independent_sampler._rng.rng.seed(seed_of(SEED, number))  # type: ignore[attr-defined]
        reference.enqueue_trial(given)
        trial = reference.ask()
        expected.append(suggest(trial))
        reference.tell(trial, loss(expected[-1]))

    assert [trial.parameters for trial in yard.trials(study_id)][: len(first)] == expected

    asked = yard.worker("api").say(Enqueue(study_id=study_id, parameters={"optimizer": "sgd"}))
    assert isinstance(asked, Done)
    assert yard.trials(study_id)[-1].parameters.keys() == PARAMETERS.keys()
    for number in range(len(first), 6):
        finish(yard, start(yard, study_id, number))
    assert yard.study(study_id).state == "COMPLETE"


@on_sqlite
def test_what_was_computed_before_a_person_came_is_not_for_the_persons_point(yard: Yard) -> None:
    study_id = yard.begin(study(parameters=PARAMETERS, sampler=GP, budget={"trials": 9, "parallel": 1}))
    for number in range(START):
        finish(yard, start(yard, study_id, number))
    assert yard.scheduler._gp.pid is not None
    os.kill(yard.scheduler._gp.pid, signal.SIGSTOP)
    sampler = yard.scheduler._studies[study_id].optuna._sampler
    assert isinstance(sampler, GpSampler)
    assert sampler.question is not None
    computed = {"parameters": {"lr": 0.0123, "layers": 1, "optimizer": "adam"}, "kernels": {}, "constraint_kernels": {}}
    sampler.take(sampler.question, computed)

    assert yard.worker("api").say(Enqueue(study_id=study_id, parameters={"optimizer": "sgd"})) == Done(number=START)
    assert yard.trials(study_id)[START].parameters["lr"] != 0.0123
