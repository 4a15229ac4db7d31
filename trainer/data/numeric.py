"""Columns of numbers: what stands in for a missing one, and onto which scale they are brought. Fitted on the training
part, and kept with the model."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.preprocessing import PowerTransformer

from trainer.config import Data
from trainer.data.document import Document

Values = NDArray[np.float64]

MOST_QUANTILES = 1000
RAREST = 1e-7  # a share of rows below or above which normal scores are cut off, at ± 5.2, as scikit-learn cuts them


class Numeric(Document):
    """A column of numbers. It is encoded as (x - shift) / scale, with `fill` in place of a missing x, and after x was
    bent by the power or the quantiles where there are any.
    """

    name: str
    fill: float
    shift: float
    scale: float
    power: float | None = None  # Yeo and Johnson's lambda
    quantiles: tuple[float, ...] = ()  # at even steps from the least to the largest

    def encode(self, column: pd.Series) -> Values:
        """(rows,); what is no number counts as missing."""
        values = _numbers(column)
        bent = self._bent(np.where(np.isnan(values), self.fill, values))
        return (bent - self.shift) / self.scale

    def _bent(self, values: Values) -> Values:
        if self.power is not None:
            return _yeo_johnson(values, self.power)
        return _normal_scores(values, np.array(self.quantiles)) if self.quantiles else values


def fit_numeric(column: pd.Series, data: Data) -> Numeric:
    """Learn a column that holds at least one number."""
    values = _numbers(column)
    there = values[~np.isnan(values)]
    fill = _fill(there, data.impute)
    values = np.where(np.isnan(values), fill, values)
    column_of = Numeric(name=str(column.name), fill=fill, shift=0.0, scale=1.0)
    if data.normalize == "quantile":
        steps = 100 * np.linspace(0, 1, min(MOST_QUANTILES, len(values)))
        return column_of.model_copy(update={"quantiles": tuple(np.percentile(values, steps).tolist())})
    power = _power(values) if data.normalize == "power" else None
    bent = values if power is None else _yeo_johnson(values, power)
    shift, scale = _scale(bent, data.normalize)
    return column_of.model_copy(update={"power": power, "shift": shift, "scale": scale})


def _numbers(column: pd.Series) -> Values:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _fill(values: Values, impute: str) -> float:
    if impute == "most_frequent":
        distinct, counts = np.unique(values, return_counts=True)
        return float(distinct[counts.argmax()])  # of several the smallest, as scikit-learn's SimpleImputer has it
    return float(np.median(values) if impute == "median" else values.mean())


def _scale(values: Values, normalize: str) -> tuple[float, float]:
    """Shift and scale; a column that is the same in all rows is shifted to 0 and not scaled."""
    if normalize == "none":
        return 0.0, 1.0
    span = float(np.ptp(values))
    if normalize == "minmax":
        return float(values.min()), span or 1.0
    if normalize == "robust":
        lower, middle, upper = np.percentile(values, [25, 50, 75]).tolist()
        return middle, (upper - lower) or 1.0
    # Numbers next to nothing apart have no deviation; the same ones may have one, of rounding alone.
    return float(values.mean()), (float(values.std()) if span else 0.0) or 1.0


def _power(values: Values) -> float:
    """The lambda that makes the values look most like a normal distribution; 1 where nothing varies."""
    if np.ptp(values) == 0:
        return 1.0
    power = float(PowerTransformer(standardize=False).fit(values[:, np.newaxis]).lambdas_[0])
    return power if np.isfinite(_yeo_johnson(values, power)).all() else 1.0


def _yeo_johnson(values: Values, power: float) -> Values:
    """Yeo and Johnson 2000, equation 2.1."""
    bent = np.empty_like(values)
    up = values >= 0
    bent[up] = np.log1p(values[up]) if power == 0 else np.expm1(power * np.log1p(values[up])) / power
    down, other = -values[~up], 2 - power
    bent[~up] = -np.log1p(down) if other == 0 else -np.expm1(other * np.log1p(down)) / other
    return bent


def _normal_scores(values: Values, quantiles: Values) -> Values:
    """What a normal distribution has at the share of the training rows below each value; where many rows have the same
    value, at the middle of them.
    """
    shares = np.linspace(0, 1, len(quantiles))
    below = np.interp(values, quantiles, shares)
    above = -np.interp(-values, -quantiles[::-1], -shares[::-1])
    scores: Values = ndtri(((below + above) / 2).clip(RAREST, 1 - RAREST))
    return scores
