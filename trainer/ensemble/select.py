"""Ensembles of trainings that are done: chosen and weighted by what they said of validation rows, and by nothing else.

Every function takes validation rows and gives a combination over the candidates that it has chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.ensemble.candidates import Rows, TooFewRows
from trainer.ensemble.combine import Combination, Stacked, Weighted, log_of

STACKING_FOLDS = 5
PENALTIES = tuple(10.0**power for power in range(-3, 3))  # for each row
BAGS, BAG_SHARE = 20, 0.5
BAGGED_FROM = 20  # candidates; halves of fewer leave too many of the good ones out


@dataclass(frozen=True)
class Chosen:
    """Which candidates, by their places, and how they are combined."""

    members: tuple[int, ...]
    combination: Combination


def average(rows: Rows) -> Chosen:
    """All candidates with equal weight."""
    count = len(rows.scores)
    return Chosen(tuple(range(count)), Weighted(weights=(1 / count,) * count))


def greedy(rows: Rows, metric: str, rounds: int, seed: int) -> Chosen:
    """Forward selection with replacement: again and again the candidate is added with which the mean is best (Caruana
    et al. 2004, section 2); of many candidates in the mean over selections from random halves of them (section 2.3).
    Each begins with the single best one.

    Args:
        metric: of the study's objective; where it has no cost of its own here, as auc, log loss or squared error.
        rounds: how many candidates a selection adds.
    """
    cost = cost_of(rows, metric)
    rng = np.random.default_rng(seed)
    count = len(rows.scores)
    weights = np.zeros(count)
    bags, size = (BAGS, round(BAG_SHARE * count)) if count >= BAGGED_FROM else (1, count)
    for _ in range(bags):
        bag = np.sort(rng.choice(count, size, replace=False))
        weights += _select(rows.scores, bag, cost, rounds)
    return _without_unused(weights / weights.sum())


def stack(rows: Rows, seed: int) -> Chosen:
    """A linear model over the candidates' predictions (Wolpert 1992), whose weights are pulled towards those of the
    plain mean (as Breiman 1996 keeps them positive): ridge regression of values, logistic regression of classes. How
    strong the pull is, five folds of the validation rows decide.

    Raises:
        TooFewRows: there is only one, and nothing is left to learn from where it is held out.
    """
    if len(rows.y) < 2:
        raise TooFewRows(f"stacking learns from validation rows, and there is {len(rows.y)}; take average or greedy")
    fit = _fit_ridge if rows.scores.ndim == 2 else _fit_logistic
    fold = np.random.default_rng(seed).permutation(len(rows.y)) % STACKING_FOLDS
    costs = [
        sum(_loss(fit(_take(rows, fold != held), penalty), _take(rows, fold == held)) for held in range(STACKING_FOLDS))
        for penalty in PENALTIES
    ]
    # Of penalties that do equally well the strongest: what is nearest to the mean errs least on new rows.
    best = max(np.flatnonzero(np.array(costs) <= min(costs) * (1 + 1e-3)))
    return Chosen(tuple(range(len(rows.scores))), fit(rows, PENALTIES[best]))


def _select(
    scores: NDArray[np.float64],
    bag: NDArray[np.int64],
    cost: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rounds: int,
) -> NDArray[np.float64]:
    """How often each candidate was added, as shares; the best prefix of the additions counts."""
    own = scores[bag]
    costs = cost(own)
    added = [int(costs.argmin())]
    total, lowest, best = own[added[0]].copy(), float(costs.min()), 1
    while len(added) < rounds:
        costs = cost((total + own) / (len(added) + 1))
        added.append(int(costs.argmin()))
        total += own[added[-1]]
        if costs.min() < lowest:
            lowest, best = float(costs.min()), len(added)
    return np.bincount(bag[added[:best]], minlength=len(scores)) / best


def cost_of(rows: Rows, metric: str) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """From (candidates, rows[, classes]) to what is to be low, (candidates,)."""
    name = metric.rpartition("/")[2]
    if rows.scores.ndim == 2 and name == "pinball" and rows.quantile is not None:
        below = rows.quantile
        return lambda scores: np.maximum(below * (rows.y - scores), (1 - below) * (scores - rows.y)).mean(1)
    if rows.scores.ndim == 2:
        power = 1 if name == "mae" else 2
        return lambda scores: (np.abs(scores - rows.y) ** power).mean(1)
    y = rows.y.astype(np.int64)
    everyone = np.arange(len(y))

    def log_loss(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = -log_of(scores[:, everyone, y]).mean(1)
        return found

    # Few rows change sides with one more candidate: between equals log loss decides.
    if name == "f1":
        return lambda scores: 1 - _f1(scores, y) + 1e-3 * log_loss(scores)
    if name not in ("accuracy", "balanced_accuracy"):
        return log_loss
    share = 1 / np.bincount(y)[y] if name == "balanced_accuracy" else np.ones(len(y))
    share = share / share.sum()
    return lambda scores: ((scores.argmax(2) != y) * share).sum(1) + 1e-3 * log_loss(scores)


def _f1(scores: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """As the metric: of two classes the second's, of more the mean over those that are there or are guessed.

    Args:
        scores: (candidates, rows, classes).

    Returns:
        (candidates,)
    """
    count, _, classes = scores.shape
    guessed = scores.argmax(2)
    places = guessed + classes * np.arange(count)[:, None]  # of each candidate's classes, bins of their own

    def counted(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(rows, minlength=count * classes).reshape(count, classes)

    either = counted(places.ravel()) + np.bincount(y, minlength=classes)
    f1 = 2 * counted(places[guessed == y]) / np.maximum(either, 1)
    mean: NDArray[np.float64] = f1[:, 1] if classes == 2 else f1.sum(1) / (either > 0).sum(1)
    return mean


def _fit_ridge(rows: Rows, penalty: float) -> Stacked:
    """Least squares with penalty * rows * var * |w - 1/candidates|^2; the intercept is free."""
    count, n = rows.scores.shape
    x, y = rows.scores.T, rows.y.astype(np.float64)
    middle, y_mean = x.mean(0), y.mean()
    x, y = x - middle, y - y_mean
    uniform = np.full(count, 1 / count)
    scale = penalty * n * (y.var() or 1.0)  # of values that are all the same, any pull leads to the mean
    weights = uniform + np.linalg.solve(x.T @ x + scale * np.eye(count), x.T @ (y - x @ uniform))
    return Stacked(weights=tuple(weights.tolist()), intercept=(float(y_mean - middle @ weights),))


def _fit_logistic(rows: Rows, penalty: float) -> Stacked:
    """Cross-entropy plus penalty * |w - 1/candidates|^2, with the intercepts' squares; one weight a candidate for all
    classes, so that a few hundred rows are enough."""
    count, _, classes = rows.scores.shape
    logs, y = torch.from_numpy(log_of(rows.scores)), torch.from_numpy(rows.y.astype(np.int64))
    uniform = torch.full((count,), 1 / count, dtype=torch.double)
    weights = uniform.clone().requires_grad_()
    intercept = torch.zeros(classes, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, intercept], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.tensordot(weights, logs, dims=1) + intercept
        pull = (weights - uniform).square().sum() + intercept.square().sum()
        value = torch.nn.functional.cross_entropy(logits, y) + penalty * pull
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Stacked(weights=tuple(weights.tolist()), intercept=tuple(intercept.tolist()))


def _loss(combination: Combination, rows: Rows) -> float:
    """The sum over the rows: log loss or squared error."""
    combined = combination.apply(rows.scores)
    if combined.ndim == 1:
        return float(((combined - rows.y) ** 2).sum())
    return float(-log_of(combined[np.arange(len(rows.y)), rows.y.astype(np.int64)]).sum())


def _take(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    return replace(rows, scores=rows.scores[:, mask], y=rows.y[mask])


def _without_unused(weights: NDArray[np.float64]) -> Chosen:
    used = np.flatnonzero(weights)
    return Chosen(tuple(used.tolist()), Weighted(weights=tuple(weights[used].tolist())))
