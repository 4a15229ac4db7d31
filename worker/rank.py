"""One of the processes that train a trial together. The first one reports, and all of them do as it is told."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from store.messages import Assignment, AttemptKey, DecisionName
from store.settings import Settings
from trainer.errors import Diverged
from trainer.ranks import Ranks, join
from worker.desk import Ended, EpochDone, Failed, Line, Visitor
from worker.ending import outcome_of, reason_of
from worker.library import Library
from worker.lifeline import end_with_parent
from worker.room import patient_artifacts
from worker.shelf import Shelf
from worker.training import Training


class _FirstReporter:
    """The first rank's: what it reports, the runner reports."""

    def __init__(self, visitor: Visitor, attempt: AttemptKey) -> None:
        self.leaves = False
        self._visitor, self._attempt = visitor, attempt

    def report(self, epoch: int, metrics: Mapping[str, float]) -> DecisionName:
        heard = self._visitor.ask(EpochDone(attempt=self._attempt, epoch=epoch, metrics=dict(metrics)))
        self.leaves = heard == "leave"
        return "continue" if heard == "leave" else heard

    def log(self, line: str) -> None:
        self._visitor.say(Line(attempt=self._attempt, text=line))


class _SilentReporter:
    """Another rank's: it hears what to do from the first."""

    leaves = False

    def report(self, epoch: int, metrics: Mapping[str, float]) -> DecisionName:
        raise NotImplementedError

    def log(self, line: str) -> None:
        """Nothing: the first one says it."""


def main() -> int:
    """Train what the runner says, until it or another rank is gone."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(arguments.parent, signal.SIGKILL)
    visitor = Visitor(arguments.desk)
    training = _training(Settings(), arguments)
    with join("cuda" if arguments.gpus else "cpu") as ranks:
        for assignment in visitor.assignments():
            _train(training, assignment, ranks, visitor)
    return 0


def _training(settings: Settings, arguments: argparse.Namespace) -> Training:
    artifacts = patient_artifacts(settings.artifacts)
    library = Library(artifacts, settings.data_folders, settings.home / "datasets")
    shelf = Shelf(arguments.shelf) if arguments.shelf else None
    return Training(artifacts, library, "cuda" if arguments.gpus else "cpu", hub=settings.hf_hub, shelf=shelf)


def _train(training: Training, assignment: Assignment, ranks: Ranks, visitor: Visitor) -> None:
    """Train to an end. What the ranks do not see alike ends this one, and so all of them."""
    reporter = _FirstReporter(visitor, assignment.attempt) if ranks.is_first else _SilentReporter()
    try:
        fitted = training.fit(assignment, reporter, lambda: reporter.leaves, ranks)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it was, the runner wants to know
        traceback.print_exc()
        sys.stderr.flush()
        outcome = "lost" if _is_of_another(error) else outcome_of(error)
        visitor.say(Failed(attempt=assignment.attempt, outcome=outcome, reason=reason_of(error)))
        if not isinstance(error, Diverged):
            os._exit(1)  # an orderly end may wait for the other ranks, which wait for this one
        return
    if ranks.is_first:
        metrics = fitted.metrics | fitted.costs
        visitor.say(Ended(attempt=assignment.attempt, outcome=fitted.ending, metrics=metrics))


def _is_of_another(error: BaseException) -> bool:
    """Whether it says no more than that another rank, or the runner, is gone."""
    if isinstance(error, OSError):
        return isinstance(error, ConnectionError)
    return isinstance(error, RuntimeError) and any(word in str(error) for word in ("gloo", "NCCL", "c10d", "TCPStore"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.rank", description=__doc__)
    parser.add_argument("--desk", type=Path, required=True, help="the socket on which the runner is spoken to")
    parser.add_argument("--parent", type=int, required=True, help="the process id of the agent")
    parser.add_argument("--shelf", type=Path, help="the folder that this machine's slots share prepared data in")
    parser.add_argument("--gpus", action="store_true", help="train on the GPU of our local rank")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
