"""What the SDK does with what a study has left: models, ensembles, files and the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date
from numbers import Real
from typing import Any, Literal
from urllib.parse import quote

from trialyard.connection import Connection
from trialyard.resources import Artifact, Ensemble, Predictions


def path_of(study: str, *rest: str | int) -> str:
    """The path of a study, or of something below it."""
    return "/".join(["/studies", quote(study, safe=""), *map(str, rest)])


class ModelCalls(Connection):
    """A part of the client; every method raises `ApiError` or one of its kinds."""

    def report_page(self, study: str) -> Iterator[bytes]:
        """The study as one HTML file with its pictures in it, in pieces."""
        yield from self._stream(path_of(study, "report"))

    def predict(
        self,
        study: str,
        rows: Any,
        trial: int | None = None,
        ensemble: int | None = None,
        *,
        int8: bool = False,
    ) -> Predictions:
        """What the best trial's model, or that of a trial or an ensemble, says of rows; a worker of the study's pool is
        asked.

        Args:
            rows: mappings of columns to values, or a data frame, where None, NaN and NaT are gaps; texts; nested lists
                or arrays of pixels, or image files in base64.
            int8: with linear layers in eight bits; not of an ensemble.

        Raises:
            InvalidRequest: rows do not fit what the model was trained on; `errors` name row and column.
            Conflict: there is no such model (any more).
            ServerError: no worker is there, or none came to it in time.
        """
        asked = {"trial": trial, "ensemble": ensemble}
        body = {"rows": _rows(rows)} | {name: number for name, number in asked.items() if number is not None}
        body |= {"int8": True} if int8 else {}
        return Predictions.model_validate(self._ask("POST", path_of(study, "predict"), body=body))

    def build_ensemble(self, study: str, method: str, **options: int) -> Ensemble:
        """Have an ensemble of the study's trials built by a worker.

        Args:
            method: average, greedy, stacking, bagging, boosting or refit.
            options: candidates, rounds, seed.

        Raises:
            Conflict: the study has nothing that it could be made of.
        """
        return Ensemble.model_validate(
            self._ask("POST", path_of(study, "ensembles"), body={"method": method, **options})
        )

    def ensembles(self, study: str) -> Iterator[Ensemble]:
        """The newest first."""
        return map(Ensemble.model_validate, self._pages(path_of(study, "ensembles")))

    def ensemble(self, study: str, number: int) -> Ensemble:
        return Ensemble.model_validate(self._ask("GET", path_of(study, "ensembles", number)))

    def download_ensemble(self, study: str, number: int) -> Iterator[bytes]:
        """A zip with all its models, in pieces. Raises: Conflict: it is not built (yet)."""
        yield from self._stream(path_of(study, "ensembles", number, "model"))

    def artifacts(self, study: str, number: int) -> list[Artifact]:
        """The files that a trial left; `model` is its model, to be downloaded as a zip."""
        return [Artifact.model_validate(each) for each in self._pages(path_of(study, "trials", number, "artifacts"))]

    def download(self, study: str, number: int, artifact: str) -> Iterator[bytes]:
        """A file that a trial left, in pieces. Raises: NotFound. Conflict: its model is gone."""
        yield from self._stream(path_of(study, "trials", number, "artifacts", artifact))

    def convert(self, study: str, number: int, form: Literal["onnx", "torch", "int8"]) -> Artifact:
        """Put a trial's model into another form beside it. `onnx` and `torch` say of real rows what the original says;
        `int8`, with linear layers in eight bits, comes with what was `measured` of both.

        Raises:
            InvalidRequest: the model cannot be put into that form, and why.
            ServerError: no worker is there, or none came to it in time.
        """
        path = path_of(study, "trials", number, "artifacts")
        return Artifact.model_validate(self._ask("POST", path, body={"form": form}))

    def convert_refit(self, study: str, ensemble: int, form: Literal["onnx", "torch", "int8"]) -> Artifact:
        """The same for the model of a refit, by its number as an ensemble.

        Raises:
            InvalidRequest, ServerError: as of a trial's.
            Conflict: the ensemble is no refit, or not built (yet).
        """
        path = path_of(study, "ensembles", ensemble, "artifacts")
        return Artifact.model_validate(self._ask("POST", path, body={"form": form}))

    def storage(self, study: str) -> dict[str, int]:
        """The bytes of the study's files, by what they are: models, checkpoints, predictions, logs, ensembles …"""
        kinds: dict[str, int] = self._ask("GET", path_of(study, "storage"))["kinds"]
        return kinds


def _rows(rows: Any) -> list[Any]:
    """Rows as JSON has them, with null for a gap."""
    if hasattr(rows, "to_dict"):
        rows = rows.to_dict("records")
    return [{name: _plain(value) for name, value in row.items()} if isinstance(row, Mapping) else row for row in rows]


def _plain(value: Any) -> Any:
    """A value as JSON has it: a date as a text, a gap as null."""
    if isinstance(value, Real) and math.isnan(value):
        return None
    if isinstance(value, date):  # as pandas' NaT is, which is not even its own equal
        return None if value != value else value.isoformat()
    return value
