"""How the predictions of several models become one: documents in JSON, so that they can be kept, and what they mean."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Scores = NDArray[np.float64]  # (rows, classes) probabilities, or (rows,) values in the target's own unit
_TINY = 1e-12


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Weighted(_Document):
    """The sum of what the models say, each times its weight."""

    kind: Literal["weighted"] = "weighted"
    weights: tuple[float, ...]

    def apply(self, scores: NDArray[np.float64]) -> Scores:
        """(models, rows, classes) or (models, rows)."""
        return np.tensordot(np.array(self.weights), scores, axes=1)


class Stacked(_Document):
    """A linear model over what the models say (Wolpert 1992): of classes over the logarithms of their probabilities,
    with an intercept for each class; of values over the values, with one intercept.
    """

    kind: Literal["stacked"] = "stacked"
    weights: tuple[float, ...]
    intercept: tuple[float, ...]

    def apply(self, scores: NDArray[np.float64]) -> Scores:
        """(models, rows, classes) or (models, rows)."""
        if scores.ndim == 2:
            return np.tensordot(np.array(self.weights), scores, axes=1) + self.intercept[0]
        logits = np.tensordot(np.array(self.weights), log_of(scores), axes=1) + np.array(self.intercept)
        return softmax(logits)


class Voted(_Document):
    """Each model votes for its likeliest class with its weight; as probabilities by the exponential loss that boosting
    goes down (Zhu et al. 2009, section 2.2).
    """

    kind: Literal["voted"] = "voted"
    weights: tuple[float, ...]

    def apply(self, scores: NDArray[np.float64]) -> Scores:
        """(models, rows, classes)."""
        classes = scores.shape[2]
        votes = np.eye(classes)[scores.argmax(2)]  # (models, rows, classes)
        total = np.tensordot(np.array(self.weights), votes, axes=1)
        return softmax(total / (classes - 1))


Combination = Weighted | Stacked | Voted

COMBINATIONS: TypeAdapter[Combination] = TypeAdapter(Annotated[Combination, Field(discriminator="kind")])


def log_of(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms that are finite."""
    found: NDArray[np.float64] = np.log(np.maximum(probabilities, _TINY))
    return found


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return shares
