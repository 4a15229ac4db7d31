"""The trials that an ensemble may be made of, by what they said of the same rows; the test rows are kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.schema import Target
from trainer.ensemble.combine import Combination, Scores, log_of, softmax
from trainer.errors import TrainerError
from trainer.metrics import measure
from trainer.predictions import Held, Predictions


class Unlike(TrainerError):
    """Predictions are of other rows than those they shall be combined with: what one model was trained on would be
    what another one is judged by."""


class TooFewRows(TrainerError):
    """There are fewer validation rows than a method can learn from."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What each candidate says of the same rows, and what is true."""

    scores: NDArray[np.float64]  # (candidates, rows, classes) or (candidates, rows)
    y: NDArray[Any]  # (rows,), classes or values in the target's own unit
    quantile: float | None = None  # that is predicted in place of the mean

    def measure(self, combined: Scores, target: Target) -> dict[str, float]:
        """All metrics of combined scores."""
        if target.task == "classification":
            return measure(torch.from_numpy(log_of(combined)), torch.from_numpy(self.y.astype(np.int64)), 1.0)
        outputs, y = ((each - target.mean) / target.deviation for each in (combined, self.y.astype(np.float64)))
        return measure(torch.from_numpy(outputs), torch.from_numpy(y), target.deviation, self.quantile)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Trainings on one split. Whoever selects is given `validation`; `judge` alone looks at the test rows, at the end.

    Attributes:
        out_of_fold: whether the validation rows are all rows but the test's, each predicted by a model that had not
            seen it.
    """

    target: Target
    fingerprint: str
    validation: Rows
    out_of_fold: bool
    _test: Rows | None

    @classmethod
    def of(cls, predictions: Mapping[int, Predictions]) -> Candidates:
        """By trial number, in the order given.

        Raises:
            Unlike: a trial was split or validated in another way than the first one.
        """
        (first, reference), *others = predictions.items()
        for number, each in others:
            _refuse_unlike(number, each, first, reference)
        tests = [each.test for each in predictions.values() if each.test is not None]
        return cls(
            target=reference.target,
            fingerprint=reference.fingerprint,
            validation=_rows([each.validation for each in predictions.values()], list(predictions.values())),
            out_of_fold=reference.out_of_fold,
            _test=_rows(tests, list(predictions.values())) if len(tests) == len(predictions) else None,
        )

    def judge(self, combination: Combination, members: Sequence[int]) -> dict[str, float]:
        """The metrics of a finished combination of some candidates: `val/…`, and `test/…` where there are test rows."""
        parts = {"val": self.validation} | ({"test": self._test} if self._test else {})
        return {
            f"{part}/{name}": value
            for part, rows in parts.items()
            for name, value in rows.measure(combination.apply(rows.scores[list(members)]), self.target).items()
        }


def _refuse_unlike(number: int, found: Predictions, first: int, reference: Predictions) -> None:
    same_rows = found.fingerprint == reference.fingerprint and _same(found.validation, reference.validation)
    tests = (found.test, reference.test)
    same_tests = (None not in tests and _same(tests[0], tests[1])) or tests == (None, None)  # type: ignore[arg-type]
    if not (same_rows and same_tests and found.out_of_fold == reference.out_of_fold):
        raise Unlike(
            f"trial {number} was trained and validated on other rows than trial {first}: rows that one has learned "
            "would judge the other; take trials of one split"
        )


def _same(found: Held, reference: Held) -> bool:
    return np.array_equal(found.y, reference.y) and found.outputs.shape[1:] == reference.outputs.shape[1:]


def _rows(held: Sequence[Held], predictions: Sequence[Predictions]) -> Rows:
    scores = [_scores(each.outputs, of.target) for each, of in zip(held, predictions, strict=True)]
    target, y = predictions[0].target, held[0].y
    if target.task == "regression":
        y = y.astype(np.float64) * target.deviation + target.mean
    return Rows(np.stack(scores), y, predictions[0].quantile)


def _scores(outputs: NDArray[np.float32], target: Target) -> Scores:
    if target.task == "classification":
        return softmax(outputs.astype(np.float64))
    return outputs.astype(np.float64) * target.deviation + target.mean
