"""Rows that are made up from the training part's own, for classes that have few. Never of the other parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from sklearn.mixture import GaussianMixture

from trainer.config import OVERSAMPLERS, Synthetic
from trainer.errors import DataError

Numbers = NDArray[np.float32]
Random = np.random.Generator

NEIGHBOURS = 5
MOST_COMPONENTS = 5
LEAST_ROWS = 2


def with_synthetic(
    numbers: NDArray[Any], categories: NDArray[Any], y: NDArray[Any], rule: Synthetic, seed: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The rows as they are, and synthetic ones after them.

    Args:
        numbers, categories: (rows, …), encoded.
        y: (rows,), the class of each row.

    Raises:
        DataError: a class has too few rows to make others from, or the method cannot do with these columns.
    """
    counts = np.bincount(y)
    few = counts[counts > 0].min()
    if few < LEAST_ROWS and rule.method not in ("random", "noise"):
        message = f"a class has {few} row in the training part, too few to make others from"
        raise DataError("trial.data.synthetic.method", message, "bring more rows of it, or take random")
    if rule.method in OVERSAMPLERS:
        return _oversampled(numbers, categories, y, rule, seed)
    random, made = np.random.default_rng(seed), []
    for label in np.flatnonzero(counts):
        own = np.flatnonzero(y == label)
        count = round(rule.share * len(own))
        likeness = random.choice(own, count)  # whose categories a synthetic row takes
        drawn = _DRAW[rule.method](numbers[own], numbers[likeness], rule, random)
        made.append((drawn.astype(np.float32), categories[likeness], np.full(count, label)))
    x_num, x_cat, labels = (np.concatenate(each) for each in zip((numbers, categories, y), *made, strict=True))
    return x_num, x_cat, labels


def _oversampled(
    numbers: NDArray[Any], categories: NDArray[Any], y: NDArray[Any], rule: Synthetic, seed: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Each class is brought nearer to the largest by a share of what it lacks."""
    counts = np.bincount(y)
    wanted = {label: int(n + rule.share * (counts.max() - n)) for label, n in enumerate(counts) if n}
    sampler = _sampler(rule.method, numbers.shape[1], categories.shape[1], wanted, int(counts[counts > 0].min()), seed)
    try:
        x, labels = sampler.fit_resample(np.hstack([numbers.astype(np.float64), categories]), y)
    except (ValueError, RuntimeError) as error:  # ADASYN where no neighbour is of another class
        raise DataError("trial.data.synthetic.method", f"{rule.method}: {error}", "take smote or random") from error
    width = numbers.shape[1]
    return x[:, :width].astype(np.float32), x[:, width:].round().astype(np.int64), labels.astype(np.int64)


def _sampler(method: str, numbers: int, categories: int, wanted: dict[int, int], fewest: int, seed: int) -> Any:
    from imblearn import over_sampling as imbalanced  # half a second that only those pay who use it

    named: dict[str, Any] = {"sampling_strategy": wanted, "random_state": seed}
    if method == "random":
        return imbalanced.RandomOverSampler(**named)
    near = min(NEIGHBOURS, fewest - 1)
    if method == "smote" and not categories:
        return imbalanced.SMOTE(k_neighbors=near, **named)
    if method == "smote":
        places = list(range(numbers, numbers + categories))
        if numbers:
            return imbalanced.SMOTENC(places, k_neighbors=near, **named)
        return imbalanced.SMOTEN(k_neighbors=near, **named)
    if categories:
        message = f"{method} goes between numbers, and there are {categories} categorical columns"
        raise DataError("trial.data.synthetic.method", message, "take smote, which knows categories")
    if method == "adasyn":
        return imbalanced.ADASYN(n_neighbors=near, **named)
    return imbalanced.BorderlineSMOTE(k_neighbors=near, **named)


def _mixture(own: Numbers, likeness: Numbers, _rule: Synthetic, random: Random) -> NDArray[np.float64]:
    """From a mixture of Gaussians, of as many components as the information criterion of Schwarz 1978 likes best."""
    if not own.shape[1] or not len(likeness):
        return likeness.astype(np.float64)
    most = min(MOST_COMPONENTS, max(1, len(own) // 10))
    state = int(random.integers(2**31))
    exact = own.astype(np.float64)
    fitted = [GaussianMixture(n, reg_covar=1e-4, random_state=state).fit(exact) for n in range(1, most + 1)]
    drawn: NDArray[np.float64] = min(fitted, key=lambda mixture: mixture.bic(exact)).sample(len(likeness))[0]
    return drawn


def _copula(own: Numbers, likeness: Numbers, _rule: Synthetic, random: Random) -> NDArray[np.float64]:
    """Each column keeps its own distribution; what ties them together is Gaussian (Sklar 1959)."""
    if not own.shape[1] or not len(likeness):
        return likeness.astype(np.float64)
    ordered = np.sort(own, 0)
    ranks = own.argsort(0).argsort(0)
    scores = ndtri((ranks + 0.5) / len(own))  # (rows, columns)
    together = np.atleast_2d(np.cov(scores, rowvar=False))
    drawn = random.multivariate_normal(np.zeros(own.shape[1]), together, len(likeness), check_valid="ignore")
    steps = np.linspace(0, 1, len(own))
    return np.stack([np.interp(ndtr(drawn[:, c]), steps, ordered[:, c]) for c in range(own.shape[1])], 1)


def _noisy(own: Numbers, likeness: Numbers, rule: Synthetic, random: Random) -> NDArray[np.float64]:
    """Rows of the class whose numbers are moved by a share of the class's deviation."""
    moved: NDArray[np.float64] = likeness + random.normal(0, 1, likeness.shape) * rule.noise * own.std(0)
    return moved


_DRAW = {"gaussian_mixture": _mixture, "gaussian_copula": _copula, "noise": _noisy}
