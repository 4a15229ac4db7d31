import sys
from pathlib import Path

import pytest

from store.artifacts import Artifacts
from store.errors import SettingsError
from store.messages import Assignment, AttemptKey, DecisionName
from worker.objectives import ObjectiveFailed, Objectives
from worker.objectives_file import read_objectives
from worker.reporter import NotANumber


class Deaf:
    """A reporter whose decision is always the same."""

    def __init__(self, decision: DecisionName = "continue") -> None:
        self.decision = decision
        self.logged: list[str] = []

    def report(self, _step: int, _metrics: object) -> DecisionName:
        return self.decision

    def log(self, line: str) -> None:
        self.logged.append(line)


@pytest.fixture
def objectives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objectives:
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "unit_objectives.py").write_text(
        "import os\n"
        "def one_report(trial):\n"
        "    decision = trial.report(0, {'loss': 1.0})\n"
        "    trial.folder.write('decision', f'{decision} {decision.stop}'.encode())\n"
        "def number(trial):\n"
        "    return 0.5\n"
        "def by_turns(trial):\n"
        "    trial.report(1, {'loss': 1.0})\n"
        "    trial.report(1, {'train/loss': 2.0})\n"
        "    trial.report(2, {'train/loss': 1.5})\n"
        "def with_norm(trial):\n"
        "    trial.report(1, {'loss': 1.0, 'grad_norm': float('inf')})\n"
        "    trial.report(2, {'loss': 0.5, 'grad_norm': float('inf')})\n"
        "    return {'seconds': float('nan')}\n"
        "word = 'no function'\n"
    )
    (tmp_path / "objectives.toml").write_text(
        "[objectives]\n"
        'one-report = "unit_objectives:one_report"\n'
        'number = "unit_objectives:number"\n'
        'by-turns = "unit_objectives:by_turns"\n'
        'with-norm = "unit_objectives:with_norm"\n'
        'word = "unit_objectives:word"\n'
        'missing = "unit_objectives:missing"\n'
    )
    return Objectives(tmp_path / "objectives.toml", Artifacts(str(tmp_path / "artifacts")), leave_seconds=5.0)


def trial_of(name: str) -> Assignment:
    return Assignment(
        attempt=AttemptKey(1, 2, 3),
        study="study",
        parameters={},
        trial={"kind": "objective", "name": name},
        metric="loss",
        direction="minimize",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown", "there is no objective 'unknown' on this worker"),
        ("word", "'word' .* is no function"),
        ("missing", "'missing' .* cannot be imported: .* has no attribute 'missing'"),
        ("number", "'number' returned 0.5; it must return its metrics by name"),
    ],
)
def test_an_objective_that_cannot_be_used_says_why(objectives: Objectives, name: str, message: str) -> None:
    with pytest.raises(ObjectiveFailed, match=message):
        objectives.run(trial_of(name), Deaf(), should_leave=lambda: False)  # type: ignore[arg-type]


def test_each_metric_counts_as_it_was_reported_last(objectives: Objectives) -> None:
    ending = objectives.run(trial_of("by-turns"), Deaf(), should_leave=lambda: False)  # type: ignore[arg-type]
    assert ending.metrics == {"loss": 1.0, "train/loss": 1.5}


def test_what_is_not_finite_and_the_search_does_not_look_at_is_left_out_and_said_once(objectives: Objectives) -> None:
    reporter = Deaf()

    ending = objectives.run(trial_of("with-norm"), reporter, should_leave=lambda: False)  # type: ignore[arg-type]

    assert (ending.outcome, ending.metrics) == ("finished", {"loss": 0.5})
    assert reporter.logged == [
        "grad_norm is inf at step 1: it is left out wherever it is not finite, as the search does not look at it",
        "seconds is nan at the end: it is left out wherever it is not finite, as the search does not look at it",
    ]


def test_what_the_search_looks_at_beside_the_objective_must_be_finite_too(objectives: Objectives) -> None:
    constrained = trial_of("with-norm").model_copy(update={"watched": ["loss", "grad_norm"]})

    with pytest.raises(NotANumber, match="grad_norm is inf at step 1"):
        objectives.run(constrained, Deaf(), should_leave=lambda: False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decision", "leaving", "heard", "outcome"),
    [
        ("continue", False, b"continue False", "finished"),
        ("continue", True, b"pause True", "returned"),
        ("prune", True, b"prune True", "pruned"),
    ],
)
def test_a_worker_that_leaves_has_its_objective_pause_unless_it_is_pruned(
    objectives: Objectives, tmp_path: Path, decision: DecisionName, leaving: bool, heard: bytes, outcome: str
) -> None:
    ending = objectives.run(trial_of("one-report"), Deaf(decision), should_leave=lambda: leaving)  # type: ignore[arg-type]

    assert (ending.outcome, ending.metrics) == (outcome, {"loss": 1.0})
    assert (tmp_path / "artifacts/studies/1/trials/2/attempt-3/decision").read_bytes() == heard


@pytest.mark.parametrize("text", ["", "objectives = 3", "[objectives]\nx = 3", '[objectives]\nx = "no-colon"', "[["])
def test_a_file_that_registers_nothing_sensible_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "objectives.toml"
    file.write_text(text)

    with pytest.raises(SettingsError, match=r"TRIALYARD_OBJECTIVES_FILE: .*objectives\.toml"):
        read_objectives(file)
