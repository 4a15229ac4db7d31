"""One place where trials run: does what its jobs ask for with its runner, and speaks for the runner when it dies."""

from __future__ import annotations

from collections.abc import Callable

import redis
import structlog
from redis.exceptions import RedisError

from store.bus import Caller
from store.errors import Problem, Unavailable
from store.messages import AttemptKey, Decision, Finish, FinishTask, Holds, Nothing, Preflighted, Take
from store.queue import Errand
from worker.beats import Beats
from worker.channel import Began, Done, Ended, Went, Word
from worker.child import RunnerChild, RunnerDied
from worker.memory import MemoryBound

LISTEN_SECONDS = 2.0  # between two looks whether the runner lives, and two words to RQ, while a job runs
SILENT_LOOKS = 3  # in which the runner has said nothing, from one question whether its work is wanted to the next
LOST_PATIENCE_SECONDS = 30.0  # after that the scheduler learns of a loss by itself
LEAVING_PATIENCE_SECONDS = 3.0  # the same for a slot that has no time left
MOST_FRUITLESS_DEATHS = 3
REPLACE_SECONDS = 5.0  # for a runner that is replaced to end by itself

log = structlog.get_logger(__name__)


class RunnerKeepsDying(Exception):
    """Runner after runner died before it had begun an attempt: this slot cannot do its work."""


class Slot:
    """Does one errand at a time. `leave` and `kill` may be called from a signal handler."""

    def __init__(self, client: redis.Redis, name: str, child: RunnerChild, beats: Beats, bound: MemoryBound) -> None:
        # Not the runner's own address: the scheduler wants the numbers of one sender's requests to rise.
        self._caller = Caller(client, f"{name}.slot")
        self._name = name
        self._child = child
        self._beats = beats
        self._bound = bound
        self._running: AttemptKey | None = None
        self._fruitless_deaths = 0
        self._leaving = False

    @property
    def runner_pid(self) -> int:
        """0 if there is none."""
        return self._child.pid

    def do(self, errand: Errand, meanwhile: Callable[[], None]) -> None:
        """Do an errand; when the runner dies, report what was lost and do the errand again with a new runner.

        Asking again for what was asked before tells the scheduler of an attempt that it handed out and that never
        began. And if the trial may be tried again, it goes on here at once.

        Args:
            meanwhile: called every few seconds while the runner works.

        Raises:
            RunnerKeepsDying: several runners in a row died before they had begun anything.
        """
        self._beats.busy(errand)
        self._fruitless_deaths = 0
        while not self._leaving:
            try:
                self._follow(errand, meanwhile)
                break
            except RunnerDied as death:
                log.error("the runner died", errand=errand, how=str(death))
                self._speak_for_the_dead(errand, str(death))
        self._beats.idle()

    def drain(self) -> None:
        """Finish what runs; take nothing further."""
        self._beats.draining()
        self._child.ask_to_rest()

    def leave(self) -> None:
        """Have what runs give itself back; do nothing further."""
        self._leaving = True
        self._beats.leaving()
        self._child.ask_to_leave()

    def kill(self) -> None:
        """End what runs at once; its attempt is reported."""
        self._child.kill()

    def _follow(self, errand: Errand, meanwhile: Callable[[], None]) -> None:
        """Raises: RunnerDied."""
        self._bound.take_excess()  # of what had ended before it could be killed
        self._child.do(errand)
        silent, is_abandoned = 0, False
        while not isinstance(word := self._child.listen(LISTEN_SECONDS), Done):
            if word is None and is_abandoned:
                log.info("nobody waits for this any more; the runner is replaced", errand=errand, attempt=self._running)
                self._running = None
                self._replace_runner(seconds=0.0)
                return
            self._note(word, errand)
            if not isinstance(word, Began | Ended):
                meanwhile()
            silent = silent + 1 if word is None else 0
            # Once more it is listened to: what has just come to its end is not wanted any more, either.
            is_abandoned = silent % SILENT_LOOKS == 1 and not self._is_wanted(errand)
        if word.worn is not None and not self._leaving:
            log.info("the runner is replaced", why=word.worn)
            self._replace_runner(REPLACE_SECONDS)

    def _note(self, word: Word | None, errand: Errand) -> None:
        match word:
            case Began():
                self._running = word.attempt
                self._fruitless_deaths = 0
                if errand.kind == "trial":
                    self._beats.began(word.attempt)
            case Went():
                self._beats.went(word.steps, word.rows, word.crowded)
            case Ended():
                self._running = None
                if errand.kind == "trial":
                    self._beats.ended(word.refused)

    def _is_wanted(self, errand: Errand) -> bool:
        """Whether the scheduler still waits for what runs. Who reports hears of it so, and a task asks by itself."""
        request: Take | Holds
        if errand.is_preflight:  # to take it again tells
            request = Take(study_id=errand.study_id, worker=self._name, device="")
        elif errand.kind == "trial" and self._running is not None:
            request = Holds(attempt=self._running)
        else:
            return True
        try:
            answer = self._caller.call(request, LISTEN_SECONDS)
        except (Unavailable, RedisError):
            return True
        return not (isinstance(answer, Nothing) or (isinstance(answer, Decision) and answer.stale))

    def _replace_runner(self, seconds: float) -> None:
        """`seconds`: for the one that is there to end by itself."""
        self._child.stop(seconds)
        if not self._leaving:
            self._child.start()

    def _speak_for_the_dead(self, errand: Errand, how: str) -> None:
        running, self._running = self._running, None
        excess = self._bound.take_excess()
        why = excess.reason if excess else how
        if running is not None:
            end = Finish if errand.kind == "trial" else FinishTask
            # What had to leave is not counted as a try, also when it did not leave by itself.
            outcome = "failed" if excess and excess.is_lasting else "returned" if self._leaving else "lost"
            self._tell(end(attempt=running, outcome=outcome, reason=why))
            return
        self._fruitless_deaths += 1
        is_clear = errand.is_preflight and excess is not None and excess.is_lasting
        if self._fruitless_deaths < MOST_FRUITLESS_DEATHS and not is_clear:
            return
        if not errand.is_preflight:
            raise RunnerKeepsDying(f"{self._fruitless_deaths} runners died before they had begun; the last one: {why}")
        hint = "has the worker enough memory for the data?"
        problem = Problem("trial", f"the preflight did not survive: {why}", hint)
        self._tell(Preflighted(study_id=errand.study_id, problems=[problem.as_dict()]))

    def _tell(self, request: Finish | FinishTask | Preflighted) -> None:
        try:
            self._caller.call(request, LEAVING_PATIENCE_SECONDS if self._leaving else LOST_PATIENCE_SECONDS)
        except (Unavailable, RedisError) as error:
            log.error("could not report a death; the lease will tell", error=str(error))
