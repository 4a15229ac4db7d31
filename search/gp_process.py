"""The process that computes for `gp` studies: one for all of them, there while there is one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import orjson
import structlog

from search.definition import Definition
from search.gp import Question
from search.optuna_study import OptunaStudy
from store.errors import Problem

MOST_DEATHS = 3  # of the process over one question, before that one is given up
# By path: it loads torch, and nothing of ours.
_SCRIPT = Path(__file__).resolve().parents[1] / "worker" / "gaussian_process.py"

log = structlog.get_logger(__name__)


class Asking(Protocol):
    """A study, as far as it is looked at here."""

    @property
    def definition(self) -> Definition: ...
    @property
    def optuna(self) -> OptunaStudy: ...


def missing_extra() -> Problem | None:
    """What keeps `gp` studies from running here; None if nothing does."""
    if find_spec("torch") is not None and find_spec("scipy") is not None:
        return None
    message = "gp computes with PyTorch, which is not installed where the scheduler runs"
    return Problem("sampler.name", message, "pip install 'trialyard[gp]' there, or take another sampler, such as tpe")


class GpProcess:
    """Questions in, answers out, one at a time, without ever waiting. To be used by the scheduler's thread alone.

    A process that dies is started again with the same question. It ends with the scheduler, however that ends: the
    kernel watches the thread that started it (Linux), and the pipe closes.
    """

    def __init__(self, wake: Callable[[int], None]) -> None:
        """`wake`: called from another thread when there is an answer for a study."""
        self._wake = wake
        self._waiting: dict[int, Question] = {}  # by study, the oldest first
        self._asked: tuple[int, Question] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._said: SimpleQueue[bytes | None] = SimpleQueue()  # None: the process has died
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def attend(self, studies: Mapping[int, Asking]) -> None:
        """Take up the questions of studies by their numbers; without a `gp` study the process ends."""
        if not any(study.definition.sampler.name == "gp" for study in studies.values()):
            self.stop()
        self._waiting = {study_id: each for study_id, each in self._waiting.items() if study_id in studies}
        for study_id, study in studies.items():
            question = study.optuna.question
            if question is not None and self._asked != (study_id, question):
                self._waiting[study_id] = question  # in the place of an older one
        self._go_on()

    def hear(self) -> None:
        """Hand over what has been answered since the last call."""
        while self._asked is not None and not self._said.empty():
            _, question = self._asked
            answer = self._heard(self._said.get())
            if answer is not None:
                self._asked, self._deaths = None, 0
                question.take(question, answer)
            self._go_on()

    def stop(self) -> None:
        """End the process; what was asked is forgotten."""
        self._asked, self._waiting, self._deaths = None, {}, 0
        self._bury()

    def _heard(self, said: bytes | None) -> Mapping[str, Any] | None:
        """The answer; None if the question must be put again."""
        if said is not None:
            heard: Mapping[str, Any] = orjson.loads(said)
            return heard
        code = self._bury()
        self._deaths += 1
        log.warning("the process of the gaussian process has died", exit_code=code, times=self._deaths)
        if self._deaths < MOST_DEATHS:
            self._put(*self._asked) if self._asked else None
            return None
        return {"error": f"its process died {self._deaths} times, the last time with exit code {code}"}

    def _go_on(self) -> None:
        if self._asked is None and self._waiting:
            study_id = next(iter(self._waiting))
            self._asked = (study_id, self._waiting.pop(study_id))
            self._put(*self._asked)

    def _put(self, study_id: int, question: Question) -> None:
        """Send a question, and have its answer waited for, by a thread: even sending waits until torch is loaded."""
        if self._process is None:
            self._start()
        arguments = (self._connection, orjson.dumps(question.body), self._said, lambda: self._wake(study_id))
        threading.Thread(target=_converse, args=arguments, name="gp", daemon=True).start()

    def _start(self) -> None:
        ours, theirs = Pipe()
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-P", str(_SCRIPT), str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            process_group=0,  # a terminal's Ctrl-C is not for it
        )
        theirs.close()
        self._connection, self._said = ours, SimpleQueue()

    def _bury(self) -> int | None:
        if self._process is None or self._connection is None:
            return None
        self._process.kill()
        code = self._process.wait()
        self._process = self._connection = None  # closed by whoever lets go of it last, us or the thread that listens
        return code


def _converse(
    connection: Connection[Any, Any], question: bytes, said: SimpleQueue[bytes | None], wake: Callable[[], None]
) -> None:
    """Send a question and wait for what comes: an answer, or the process's end."""
    try:
        connection.send_bytes(question)
        answer = connection.recv_bytes()
    except (EOFError, OSError):
        said.put(None)
    else:
        said.put(answer)
    with contextlib.suppress(Exception):  # whoever is woken looks round by itself a moment later
        wake()
