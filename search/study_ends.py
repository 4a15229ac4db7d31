"""When a study is over, and how it ends."""

from __future__ import annotations

from datetime import datetime

from search.attempt_ends import AttemptEnds
from search.drawing import NothingFeasible
from search.ledger import Ledger, LiveTrial
from store.models import StudyState, TrialState


class StudyEnds(AttemptEnds):
    """What the budget, the space and the trials that failed mean for the study as a whole."""

    slots = 0  # how many workers its pool has, kept up to date by the scheduler

    def cancel(self, reason: str, ledger: Ledger) -> None:
        """End every open trial; a worker hears of it at its next report."""
        for trial in list(self.open.values()):
            self._cancel(trial, reason, ledger)

    def _propose(self, state: TrialState, ledger: Ledger) -> LiveTrial | None:
        """As before; a study in whose space nothing can be found has failed, and has no more trials."""
        try:
            return super()._propose(state, ledger)
        except NothingFeasible as error:
            self.cancel("the study has failed", ledger)
            self._move(StudyState.FAILED, ledger, reason=str(error))
            return None

    def _end_if_over(self, ledger: Ledger) -> None:
        """End the study if there is nothing left to do in it, or too much has failed."""
        if self.state is not StudyState.RUNNING:
            return
        failed, most = self.counts[TrialState.FAILED], self.definition.budget.max_failed
        if most is not None and failed > most:
            self.cancel("the study has failed", ledger)
            reason = f"{failed} trials failed, budget.max_failed is {most}; the last one: {self._last_failure}"
            self._move(StudyState.FAILED, ledger, reason=reason)
        elif (spent := self._allowance.spent(ledger.at)) is not None:
            self._end_early(spent, ledger)
        elif self._allowance.busy == 0 and self._allowance.startable == 0:
            self._prune_parked(ledger)
            is_late = self._allowance.is_late and self._allowance.left > 0
            self._complete_study("budget.timeout leaves no trial the time to end" if is_late else None, ledger)

    def _end_early(self, why: str, ledger: Ledger) -> None:
        """The search is over: end the study once nothing of it runs."""
        if self.running() or self._closes(why, ledger):
            return
        population = self._optuna.population
        unfinished = (
            self._allowance.left > 0 or bool(self.open) or (population is not None and population.is_unfinished)
        )
        self._prune_parked(ledger)
        self.cancel(why, ledger)
        self._complete_study(why if unfinished else None, ledger)

    def _is_closing(self, at: datetime) -> bool:
        """Whether the search is over although trials may be left; then no member of a population waits any more."""
        is_over = self._allowance.spent(at) is not None
        if self._optuna.population is not None:
            self._optuna.population.is_closing = is_over
        return is_over

    def _closing_room(self) -> int:
        """How many members of a population that waited may come to their ends now, with what they have."""
        if self._optuna.population is None:
            return 0
        return min((self.definition.budget.parallel or self.slots) - self._allowance.busy, self._optuna.promotable())

    def _closes(self, why: str, ledger: Ledger) -> bool:
        """Whether there are such members, and workers for them; those that have not begun need not begin any more."""
        if self._optuna.population is None or not self.slots:
            return False
        for trial in [each for each in self.queued() if each.attempt == 0]:
            self._cancel(trial, why, ledger)
        return self._optuna.promotable() + self._allowance.busy > 0

    def _complete_study(self, reason: str | None, ledger: Ledger) -> None:
        """The study is over: COMPLETE, unless not a single trial came to anything."""
        failed = self.counts[TrialState.FAILED]
        if failed and not self.counts[TrialState.COMPLETE] + self.counts[TrialState.PRUNED]:
            which = "its only trial failed" if failed == 1 else f"all {failed} trials failed; the last one"
            self._move(StudyState.FAILED, ledger, f"{which}: {self._last_failure}")
        else:
            self._move(StudyState.COMPLETE, ledger, reason)
