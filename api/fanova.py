"""Importances by fANOVA, which take seconds: computed beside the requests, one at a time, at low priority."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import optuna
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.importances import Rows, Shares, sample
from search.analysis import importances
from search.definition import Definition, Objective, parse
from store.errors import Problem, TrialyardError, Unprocessable
from store.models import StudyRow, TrialRow, TrialState

KEPT_STUDIES = 256
STALE_SHARE = 0.01  # of new trials, as for the other method
FRESH_SECONDS = 60.0  # a study that runs fast would never be told anything else
POLITENESS = 10  # what the computation is put behind the requests by, as `nice` counts
PR_SET_PDEATHSIG = 1


@dataclass
class Found:
    """What came of so many trials: shares by objective and parameter, or why there are none."""

    trials: int
    shares: dict[str, Shares]
    error: str = ""
    at: float = field(default_factory=time.monotonic)

    def is_fresh(self, trials: int) -> bool:
        """Whether it may be told of so many trials: they have hardly grown, or it was made a moment ago."""
        grown = not self.trials <= trials <= self.trials * (1 + STALE_SHARE)
        return not grown or time.monotonic() < self.at + FRESH_SECONDS


@dataclass
class Fanova:
    """The newest result of each study, and the computations that run or wait."""

    _found: OrderedDict[int, Found] = field(default_factory=OrderedDict)
    _begun: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def of(self, session: Session, study: StudyRow) -> Found | None:
        """The result for the study's complete trials; None while it is being computed, which the first call begins.

        Raises:
            Unprocessable: scikit-learn is not installed here.
            TrialyardError: the computation has failed.
        """
        if find_spec("sklearn") is None:
            wrong = Problem("method", "fanova needs scikit-learn beside the server", "pip install scikit-learn there")
            raise Unprocessable(str(wrong), [wrong])
        complete = (TrialRow.study_id == study.id, TrialRow.state == str(TrialState.COMPLETE))
        count = session.scalar(select(func.count()).where(*complete)) or 0
        with self._lock:
            found = self._found.get(study.id)
            if found is not None and found.is_fresh(count):
                if found.error:
                    del self._found[study.id]  # the next one who asks tries again
                    raise TrialyardError(f"fanova failed: {found.error}")
                return found
            if study.id in self._begun:
                return None
            self._begun.add(study.id)
        try:
            trials, rows = sample(session, study, "fanova")
            arguments = (study.id, trials, study.definition, rows)
            threading.Thread(target=self._compute, args=arguments, name="fanova", daemon=True).start()
        except BaseException:
            with self._lock:
                self._begun.discard(study.id)  # the next one who asks tries again
            raise
        return None

    def _compute(self, study_id: int, count: int, definition: dict[str, Any], rows: Rows) -> None:
        found = Found(count, {}, "no process could be started")
        try:
            with self._turn:
                found = Found(count, *_by_process(definition, rows))
        finally:
            self._keep(study_id, found)

    def _keep(self, study_id: int, found: Found) -> None:
        with self._lock:
            self._begun.discard(study_id)
            self._found[study_id] = found
            self._found.move_to_end(study_id)
            while len(self._found) > KEPT_STUDIES:
                self._found.popitem(last=False)


def _by_process(definition: dict[str, Any], rows: Rows) -> tuple[dict[str, Shares], str]:
    """Shares by objective, and what went wrong."""
    spawning = get_context("spawn")
    ours, theirs = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_work, args=(theirs, os.getpid(), POLITENESS, definition, rows), daemon=True)
    process.start()
    theirs.close()
    try:
        shares = ours.recv()
    except EOFError:
        process.join()
        return {}, f"its process ended with exit code {process.exitcode}"
    process.join()
    return (shares, "") if isinstance(shares, dict) else ({}, str(shares))


def _work(answers: Connection[Any, Any], parent: int, politeness: int, definition: dict[str, Any], rows: Rows) -> None:
    """What the process does."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.nice(politeness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the server
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known = parse(definition)
    try:
        answers.send({each.metric: _shares(known, each, rows) for each in known.objectives})
    except (ValueError, RuntimeError, ArithmeticError) as error:
        answers.send(f"{type(error).__name__}: {error}")


def _shares(definition: Definition, objective: Objective, rows: Rows) -> Shares:
    return importances(definition, objective, [(given, values[objective.metric]) for given, values in rows], "fanova")
