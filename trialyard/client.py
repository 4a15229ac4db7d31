"""The SDK: a typed client of the REST API. Needs httpx and pydantic, and nothing of the service."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from trialyard.model_calls import ModelCalls
from trialyard.model_calls import path_of as _path
from trialyard.resources import (
    BestTrial,
    Dataset,
    DecisionName,
    Event,
    Handout,
    Pareto,
    Rescore,
    Rungs,
    StepReport,
    Study,
    Trial,
    Worker,
)

COMPUTING_SECONDS = 0.5  # between two looks at what the server computes
PAGE = "200"  # how many trials or reports are fetched at a time

ExportForm = Literal["csv", "parquet", "json", "optuna"]
ImportanceMethod = Literal["ped_anova", "fanova"]


class Client(ModelCalls):
    """A client of one server, made as a `Connection` is. Every method raises `ApiError` or one of its kinds."""

    def create_study(self, definition: dict[str, Any]) -> Study:
        """Create a study, once: a repeat after a broken connection carries the same Idempotency-Key.

        Raises:
            InvalidRequest: the definition is wrong; `errors` say where, and nothing was stored.
            Conflict: the name is taken.
        """
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return Study.model_validate(self._ask("POST", "/studies", body=definition, headers=key))

    def study(self, name: str) -> Study:
        return Study.model_validate(self._ask("GET", _path(name)))

    def studies(self) -> Iterator[Study]:
        return map(Study.model_validate, self._pages("/studies"))

    def trials(self, study: str, state: str | None = None, sort: str | None = None) -> Iterator[Trial]:
        """The trials of a study, fetched page by page as they are taken.

        Args:
            state: only those in this state, or in several separated by commas.
            sort: number (if left out), value, duration, started_at or ended_at, with a minus for descending.
        """
        return map(Trial.model_validate, self._pages(_path(study, "trials"), state=state, sort=sort, limit=PAGE))

    def trial(self, study: str, number: int) -> Trial:
        return Trial.model_validate(self._ask("GET", _path(study, "trials", number)))

    def reports(self, study: str, number: int) -> Iterator[StepReport]:
        return map(StepReport.model_validate, self._pages(_path(study, "trials", number, "reports"), limit=PAGE))

    def log(self, study: str, number: int, attempt: int | None = None) -> Iterator[bytes]:
        """What an attempt of a trial printed, the newest one if left out, in pieces."""
        query = {"whole": "true"} | ({} if attempt is None else {"attempt": str(attempt)})
        yield from self._stream(_path(study, "trials", number, "logs"), query)

    def best(self, study: str) -> BestTrial:
        """Raises: NotFound: no trial is complete yet. Conflict: the study has several objectives; see `pareto`."""
        return BestTrial.model_validate(self._ask("GET", _path(study, "best")))

    def pareto(self, study: str, reference: Sequence[float] | None = None) -> Pareto:
        """The complete trials that no other beats, and the hypervolume that they cover.

        Args:
            reference: the point that the hypervolume is counted from, a value an objective in their order; if left out
                a tenth of each objective's range behind the worst trial.
        """
        query = {} if reference is None else {"reference": ",".join(repr(float(value)) for value in reference)}
        return Pareto.model_validate(self._ask("GET", _path(study, "pareto"), query=query))

    def importance(
        self, study: str, metric: str | None = None, method: ImportanceMethod = "ped_anova"
    ) -> dict[str, float]:
        """How much each parameter decides what a trial comes to, as shares, the largest first.

        Args:
            metric: of which objective; the first one's if left out.
            method: whether a trial is among the best tenth, or the variance of all; the second takes seconds, and is
                waited for.
        """
        found = self._ask("GET", _path(study, "importance"), query={"method": method})
        while found.get("state") == "computing":
            time.sleep(COMPUTING_SECONDS)
            found = self._ask("GET", _path(study, "importance"), query={"method": method})
        shares: dict[str, float] = found["importance"] if metric is None else found["by_objective"][metric]
        return shares

    def rungs(self, study: str) -> Rungs:
        """How many trials came to each rung of the study's pruner, were stopped there and wait there, by bracket."""
        return Rungs.model_validate(self._ask("GET", _path(study, "rungs")))

    def export(self, study: str, form: ExportForm) -> Iterator[bytes]:
        """All trials of a study as a file, in pieces; `optuna` is a journal that Optuna opens."""
        yield from self._stream(_path(study, "export"), {"format": form})

    def dataframe(self, study: str) -> Any:
        """All trials of a study as a data frame of pandas, a row a trial, with the columns of the Parquet export.

        Raises:
            ImportError: pandas or pyarrow is not installed here.
        """
        import pandas

        return pandas.read_parquet(io.BytesIO(b"".join(self.export(study, "parquet"))))

    def pause(self, study: str) -> Study:
        return Study.model_validate(self._ask("POST", _path(study, "pause")))

    def resume(self, study: str) -> Study:
        return Study.model_validate(self._ask("POST", _path(study, "resume")))

    def cancel(self, study: str) -> Study:
        return Study.model_validate(self._ask("POST", _path(study, "cancel")))

    def delete(self, study: str) -> None:
        self._ask("DELETE", _path(study))

    def change_budget(self, study: str, budget: dict[str, Any]) -> Study:
        """Change some keys of the section `budget`, effective at once.

        Raises:
            InvalidRequest: the study would not be valid with it; `errors` say where, and nothing was changed.
            Conflict: the study has ended, and this gives it nothing to do.
        """
        return self.edit(study, {"budget": budget})

    def edit(self, study: str, changes: dict[str, Any]) -> Study:
        """Change a study, effective at once. One that has ended runs again if that gives it something to do.

        Args:
            changes: `priority`, keys of `budget`, entries of `parameters` that replace those of the same names or are
                new, and `parameter_constraints`, which replaces the section.

        Raises:
            InvalidRequest: the study would not be valid with them; `errors` say where, and nothing was changed.
            Conflict: the study was cancelled, or has ended and this gives it nothing to do.
        """
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return Study.model_validate(self._ask("PATCH", _path(study), body=changes, headers=key))

    def enqueue(self, study: str, parameters: dict[str, Any]) -> Trial:
        """Make a trial with these parameters, the next one to begin. Those that nothing says the sampler proposes.

        Raises:
            InvalidRequest: they are no part of a point of the study's space; `errors` say why.
            Conflict: the study has ended, or its budget of trials is used up.
        """
        return self._trial("POST", study, body={"parameters": parameters})

    def cancel_trial(self, study: str, number: int) -> Trial:
        """End an open trial. Raises: Conflict: it has ended."""
        return self._trial("POST", study, number, "cancel")

    def retry_trial(self, study: str, number: int) -> Trial:
        """Run a trial again, and its study until it has ended.

        Raises:
            Conflict: it is not FAILED or CANCELLED, or the study was cancelled, or has spent its budget.
        """
        return self._trial("POST", study, number, "retry")

    def drain(self, name: str) -> list[str]:
        """Have a worker, or all of a machine, leave when their trials are done: the names of those that leave.

        Raises:
            NotFound: no live worker and no machine has that name.
        """
        leaving: list[str] = self._ask("POST", f"/workers/{quote(name, safe='')}/drain")["workers"]
        return leaving

    def rescore(self, study: str, best: int = 10, seeds: int = 5) -> list[Rescore]:
        """Have the best trials trained again, each from so many other seeds.

        Raises:
            Conflict: no trial is complete yet, or they are none of our training.
        """
        found = self._ask("POST", _path(study, "rescores"), body={"best": best, "seeds": seeds})
        return [Rescore.model_validate(each) for each in found["items"]]

    def rescores(self, study: str) -> Iterator[Rescore]:
        """The newest first."""
        return map(Rescore.model_validate, self._pages(_path(study, "rescores")))

    def upload_dataset(self, name: str, file: Path) -> Dataset:
        """Send a file; a study then names it as `dataset:NAME`. The same file again changes nothing.

        Raises:
            Conflict: there is another data set of this name.
            InvalidRequest: its ending cannot be read, or it is empty.
            OSError: the file cannot be read.
        """
        with file.open("rb") as stream:
            return Dataset.model_validate(self._send("/datasets", {"name": name, "file": file.name}, stream))

    def datasets(self) -> Iterator[Dataset]:
        return (Dataset.model_validate(item) for item in self._pages("/datasets"))

    def delete_dataset(self, name: str) -> None:
        """Raises: Conflict: a study that has not ended trains on it."""
        self._ask("DELETE", f"/datasets/{quote(name, safe='')}")

    def workers(self) -> Iterator[Worker]:
        return map(Worker.model_validate, self._pages("/workers"))

    def ask(self, study: str, worker: str, count: int = 1) -> list[Handout]:
        """Up to `count` trials of an external study to run; none when there is nothing to do now, which does not mean
        that the study has ended: `handouts` waits, and knows.
        """
        answer = self._ask("POST", _path(study, "ask"), body={"worker": worker, "count": count})
        return [Handout.model_validate(item) for item in answer["items"]]

    def handouts(self, study: str, worker: str) -> Iterator[Handout]:
        """Trials of an external study to run, one after the other, until the study has ended.

        While there is nothing to do, as with enough trials running elsewhere or a study that is paused, it waits.
        """
        while True:
            body = {"worker": worker, "count": 1}
            response = self._answer(self._http.build_request("POST", _path(study, "ask"), json=body))
            answer = response.json()
            yield from map(Handout.model_validate, answer["items"])
            if answer["ended"]:
                return
            if not answer["items"]:
                time.sleep(float(response.headers["Retry-After"]))

    def report(self, study: str, handout: Handout, step: int, metrics: dict[str, float]) -> DecisionName:
        """Report the metrics of one step; the answer says whether to go on.

        Raises:
            InvalidRequest: a metric is no finite number.
            Conflict: the attempt is over.
        """
        body = {"token": handout.token, "step": step, "metrics": metrics}
        decision: DecisionName = self._ask("POST", _path(study, "trials", handout.number, "report"), body=body)[
            "decision"
        ]
        return decision

    def tell(
        self,
        study: str,
        handout: Handout,
        state: Literal["complete", "failed", "diverged", "infeasible"],
        metrics: dict[str, float] | None = None,
        reason: str | None = None,
    ) -> Trial:
        """End an attempt.

        Args:
            state: `diverged` where the objective was not finite, and `infeasible` where the trial cannot run with these
                parameters: the search keeps away from both. Of one that `failed` it learns nothing.
            metrics: the final ones, all finite; of those that are left out the last reported ones count.

        Raises:
            InvalidRequest: a metric is no finite number, or that of the objective is missing.
            Conflict: it is over already, or was told before to have ended otherwise. The same may be told twice.
        """
        body = {"token": handout.token, "state": state, "metrics": metrics or {}, "reason": reason}
        return Trial.model_validate(self._ask("POST", _path(study, "trials", handout.number, "tell"), body=body))

    def events(self, study: str, after: int = 0) -> Iterator[Event]:
        """The log of a study from behind event `after`, and then what happens, for as long as the caller takes events.

        A broken connection is made anew and goes on behind the last event that arrived. Ends where the server says
        that the study has ended (204). The stream has a connection of its own, so that another thread may follow it.

        Raises:
            NotFound: there is no such study, or it was deleted.
            Unauthorized: the key is not good (any more).
        """
        return self._follow(_path(study, "events"), after)

    def _trial(self, method: str, study: str, *rest: str | int, body: dict[str, Any] | None = None) -> Trial:
        return Trial.model_validate(self._ask(method, _path(study, "trials", *rest), body=body))
