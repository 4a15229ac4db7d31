"""Messages that no worker of ours sends in this form: whatever they hold, those of the others are settled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from store.bus import STREAM
from store.messages import Finish, Preflighted
from tests.yard import METRIC, Yard, study

HUGE = 2**70
ATTEMPT: Any = object()  # stands for a trial's that runs
STUDY: Any = object()

ODD: dict[str, dict[str, Any]] = {
    "a metric's name with a NUL": {"kind": "report", "attempt": ATTEMPT, "step": 1, "metrics": {"a\0b": 1.0}},
    "final metrics with one": {
        "kind": "finish",
        "attempt": ATTEMPT,
        "outcome": "finished",
        "metrics": {METRIC: 1.0, "\0": 1.0, "\\u0000": 2.0},
    },
    "a reason with one": {"kind": "finish", "attempt": ATTEMPT, "outcome": "failed", "reason": "x\0y"},
    "a lost one's": {"kind": "finish", "attempt": ATTEMPT, "outcome": "lost", "reason": "x\0y"},
    "a death's": {"kind": "gone", "worker": "w1", "reason": "\0"},
    "a worker with one": {"kind": "take", "study_id": STUDY, "number": 1, "worker": "w\0", "device": "cpu"},
    "a long worker": {"kind": "take", "study_id": STUDY, "number": 1, "worker": "w" * 129, "device": "cpu"},
    "a group of GPUs": {"kind": "take", "study_id": STUDY, "number": 1, "worker": "w", "device": "GPU-1," * 40},
    "a number too large": {"kind": "take", "study_id": STUDY, "number": HUGE, "worker": "w", "device": "cpu"},
    "a study too large": {"kind": "amend", "study_id": HUGE, "priority": 2},
    "a retry of none": {"kind": "retry_trial", "study_id": STUDY, "number": HUGE},
    "a retry below zero": {"kind": "retry_trial", "study_id": STUDY, "number": -1},
    "parameters of no space": {"kind": "enqueue", "study_id": STUDY, "parameters": {"x": "\0", "\0": [1]}},
    "a budget of words": {"kind": "amend", "study_id": STUDY, "budget": {"trials": "all"}},
    "a task of nobody": {"kind": "finish_task", "attempt": [7, 1, 1], "outcome": "finished", "result": {"\0": 1}},
    "findings with a NUL": {"kind": "preflighted", "study_id": STUDY, "problems": [{"message": "\0"}]},
    "a sequence too large": {"kind": "wake", "study_id": STUDY, "sender": "x" * 10**6, "sequence": HUGE},
    "no message": {"kind": "take"},
}


@pytest.mark.parametrize("which", ODD)
def test_an_odd_message_keeps_no_other_from_being_settled(yard: Yard, which: str) -> None:
    study_id, other = yard.begin(study("odd")), yard.begin(study("other"))
    places = {ATTEMPT: list(yard.worker("w1").start(study_id, 0).attempt), STUDY: study_id}
    worker = yard.worker("w2")
    trial = worker.start(other, 0)
    odd = {key: places.get(value, value) if value in (ATTEMPT, STUDY) else value for key, value in ODD[which].items()}

    yard.client.xadd(STREAM, {"m": json.dumps({"sender": "s", "sequence": 1} | odd)})
    worker.post(Finish(attempt=trial.attempt, outcome="finished", metrics={METRIC: 0.5}))
    yard.turn()

    assert yard.trials(other)[0].values == {METRIC: 0.5}
    yard.restart()
    assert yard.states(other)[0] == "COMPLETE"


def test_what_neither_a_database_nor_a_terminal_takes_is_left_out_of_a_text(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    trial = worker.start(study_id, 0)

    worker.report(trial.attempt, 0, {METRIC: 1.0, "a\x1b[2J": 2.0})
    worker.finish(trial.attempt, outcome="failed", reason="a\0b \\u0000 \\\0 \x1b]0;c\x07\n\tEnde")

    stored = yard.trials(study_id)[0]
    assert stored.reason == "a\ufffdb \\u0000 \\\ufffd \ufffd]0;c\ufffd\n\tEnde"
    assert stored.metrics is not None
    assert stored.metrics["a\ufffd[2J"] == 2.0


def test_findings_of_a_preflight_keep_what_the_database_takes(yard: Yard) -> None:
    study_id = yard.submit(study())
    worker = yard.worker()
    worker.take(study_id, None)

    problems = [{"path": "trial", "message": "a\0b \\u0000 \\\0"}]
    worker.say(Preflighted(study_id=study_id, problems=problems, facts={"classes": ["\0", "\\u0000"]}))

    stored = yard.study(study_id)
    assert stored.errors == [{"path": "trial", "message": "a\ufffdb \\u0000 \\\ufffd"}]
    assert stored.facts == {"classes": ["\ufffd", "\\u0000"]}
