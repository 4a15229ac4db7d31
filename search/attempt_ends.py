"""How the end of an attempt is settled: what becomes of its trial."""

from __future__ import annotations

from search.ledger import Ledger, LiveTrial
from search.open_trials import OpenTrials
from store.messages import Finish, Refused
from store.models import Outcome, StudyState, TrialState


class AttemptEnds(OpenTrials):
    """What workers, or their silence, say that came of attempts."""

    def lose(self, trial: LiveTrial, why: str, ledger: Ledger) -> None:
        """The attempt's worker is gone: the trial runs again, unless it has been tried often enough."""
        self._forget(trial)
        if self._optuna.standing(trial.number) != "continue":
            self._end_attempt(trial, Outcome.LOST, self._again(trial), why, ledger)
        elif trial.retries >= self.definition.budget.retries:
            reason = f"lost {trial.retries + 1} times, the last time because {why}"
            self._end_attempt(trial, Outcome.LOST, TrialState.FAILED, reason, ledger)
        else:
            trial.retries += 1
            self._end_attempt(trial, Outcome.LOST, self._again(trial), why, ledger)

    def _settle(self, trial: LiveTrial, request: Finish, ledger: Ledger) -> Refused | None:
        """End the running attempt in the way that its worker says."""
        match request.outcome:
            case "finished":
                return self._complete(trial, request, ledger)
            case "failed":
                reason = request.reason or "the trial failed without a reason"
                self._end_attempt(trial, Outcome.FAILED, TrialState.FAILED, reason, ledger)
            case "diverged" if self._may_be_replaced(trial):
                trial.retries += 1
                reason = f"{request.reason or 'it diverged'}; it goes on from another member"
                self._end_attempt(trial, Outcome.PAUSED, TrialState.PAUSED, reason, ledger)
            case "diverged":
                self._optuna.count_as_worst(trial.number)
                reason = request.reason or "the trial diverged"
                self._end_attempt(trial, Outcome.FAILED, TrialState.FAILED, reason, ledger)
            case "infeasible":
                self._end_infeasible(trial, request.reason or "it does not fit into the device's memory", ledger)
            case "pruned":
                self._end_attempt(trial, Outcome.PRUNED, TrialState.PRUNED, request.reason, ledger)
            case "paused":
                again = self._again(trial)
                waits = self.state is StudyState.PAUSED and not again.ended
                self._end_attempt(trial, Outcome.PAUSED, TrialState.PAUSED if waits else again, request.reason, ledger)
            case "returned":
                self._forget(trial)
                self._end_attempt(trial, Outcome.RETURNED, self._again(trial), request.reason, ledger)
            case "lost":
                self.lose(trial, request.reason or "its process died", ledger)
        return None

    def _may_be_replaced(self, trial: LiveTrial) -> bool:
        """Whether one that diverged may go on from another member of a population; then it is held."""
        population, retries = self._optuna.population, self.definition.budget.retries
        return population is not None and trial.retries < retries and population.replace(trial.number)

    def _complete(self, trial: LiveTrial, request: Finish, ledger: Ledger) -> Refused | None:
        known = self._last_values(trial) | request.metrics
        bounded = [constraint.metric for constraint in self.definition.constraints]
        missing = [metric for metric in (*self._metrics, *bounded) if metric not in known]
        if missing:
            whose = "the objective's metric" if missing[0] in self._metrics else "a constraint's metric"
            message = f"metrics: {whose} {missing[0]!r} is missing and was never reported"
            if self.is_external:
                return Refused(message=message)
            self._end_attempt(trial, Outcome.FAILED, TrialState.FAILED, message, ledger)
            return None
        if request.metrics:
            trial.metrics = {metric: known[metric] for metric in bounded} | request.metrics
        if self._optuna.standing(trial.number) == "prune":
            self._end_attempt(trial, Outcome.PRUNED, TrialState.PRUNED, request.reason, ledger)
            return None
        trial.values = {metric: known[metric] for metric in self._metrics}
        self._end_attempt(trial, Outcome.FINISHED, TrialState.COMPLETE, request.reason, ledger)
        return None
