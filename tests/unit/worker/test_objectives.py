import sys
from pathlib import Path

import pytest

from store.artifacts import Artifacts
from store.errors import SettingsError
from store.messages import Assignment, AttemptKey, DecisionName
from worker.objectives import ObjectiveFailed, Objectives
from worker.objectives_file import read_objectives


class Deaf:
    """A reporter whose decision is always the same."""

    def __init__(self, decision: DecisionName = "continue") -> None:
        self.decision = decision

    def report(self, _step: int, _metrics: object) -> DecisionName:
        return self.decision


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
        "word = 'no function'\n"
    )
    (tmp_path / "objectives.toml").write_text(
        "[objectives]\n"
        'one-report = "unit_objectives:one_report"\n'
        'number = "unit_objectives:number"\n'
        'by-turns = "unit_objectives:by_turns"\n'
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
