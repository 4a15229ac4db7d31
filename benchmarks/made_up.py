"""Functions with known minima and learning curves that lead to them in different ways: curves nobody can tune for.

Every curve ends exactly at its function's value, so the regret is known; what comes before it may be slow, noisy,
crossing, flat, or better than the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from benchmarks.curves import Problem, Training

Point = Sequence[float]  # in the unit cube
Curve = Callable[[float, float, float, float], float]  # of a value, two traits in [0, 1], and the time in (0, 1]

_HARTMANN = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_HARTMANN_AT = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def branin(u: Point) -> float:
    x, y = 15 * u[0] - 5, 15 * u[1]
    bowl = (y - 5.1 * x * x / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
    return (bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887) / 50


def hartmann(u: Point) -> float:
    squares = (_HARTMANN * (np.array(u) - _HARTMANN_AT) ** 2).sum(axis=1)
    return float(3.32237 - np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(-squares)) / 3


def ackley(u: Point) -> float:
    """Its minimum lies off the middle of the range, where a prior would find it."""
    x = 8 * (np.array(u) - 0.31)
    valley: float = -20 * math.exp(-0.2 * math.sqrt(float((x * x).mean())))
    return (valley - math.exp(float(np.cos(2 * math.pi * x).mean())) + 20 + math.e) / 10


def rosenbrock(u: Point) -> float:
    x = 3 * np.array(u) - 1
    return math.log1p(float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())) / 5


def bowl(u: Point) -> float:
    """Of ten parameters four matter, each half as much as the one before."""
    return sum((each - 0.3 - 0.1 * place) ** 2 / 2**place for place, each in enumerate(u[:4]))


def power(end: float, trait: float, other: float, time: float) -> float:
    return end + (0.1 + 0.4 * trait) * (time ** -(0.2 + 0.8 * other) - 1) / 4


def crossing(end: float, trait: float, _other: float, time: float) -> float:
    """The better the end, the slower the way."""
    rate = 2 + 6 * min(end, 1) + 2 * trait
    return end + (1.2 - min(end, 1)) * (math.exp(-rate * time) - math.exp(-rate))


def overfit(end: float, trait: float, _other: float, time: float) -> float:
    """Falls, and rises again to its end."""
    return end + 0.02 * (1 / time - 1) - 0.3 * trait * (1 - time**2)


def plateau(end: float, trait: float, _other: float, time: float) -> float:
    """Nothing to be seen before a moment of its own."""
    return end + (1 - end) / (1 + math.exp(25 * (time - 0.05 - 0.3 * trait))) - (1 - end) / (1 + math.exp(16))


def exploding(end: float, trait: float, other: float, time: float) -> float:
    """Losses over many orders of magnitude."""
    return math.exp(8 * power(end, trait, other, time))


class MadeUp:
    """A function over so many ranges from 0 to 1, under a curve; `noise` is the deviation of each value."""

    direction: Literal["minimize", "maximize"] = "minimize"

    def __init__(
        self, function: Callable[[Point], float], dimensions: int, curve: Curve, epochs: int, noise: float
    ) -> None:
        self.name = f"{function.__name__} {curve.__name__}" + (" noisy" if noise else "")
        self.epochs = epochs
        self.scores_the_mean = noise > 0
        self.parameters: Mapping[str, Any] = {f"x{place}": {"low": 0.0, "high": 1.0} for place in range(dimensions)}
        self._function, self._curve, self._noise = function, curve, noise
        draws = np.random.default_rng(len(self.name))
        self._waves = draws.normal(0, 3, (2, dimensions))

    def train(self, parameters: Mapping[str, Any], seed: int) -> Training:
        point = self.point(parameters)
        end = self._function(point)
        trait, other = 0.5 + 0.5 * np.sin(self._waves @ np.array(point) + 1)
        times = np.arange(1, self.epochs + 1) / self.epochs
        noise = self._noise * np.random.default_rng(seed).standard_normal(self.epochs)
        values = [self._curve(end, trait, other, time) + error for time, error in zip(times, noise, strict=True)]
        return Training(values, max(end, 0.0))

    def point(self, parameters: Mapping[str, Any]) -> Point:
        return [parameters[name] for name in self.parameters]


class Conditional(MadeUp):
    """A made-up training with an optimizer of three kinds, each with ranges of its own, whole numbers and a log scale.

    The best kind is the second; its own two ranges matter most.
    """

    def __init__(self, curve: Curve, epochs: int, noise: float) -> None:
        super().__init__(_of_kinds, 6, curve, epochs, noise)
        self.name = self.name.replace("_of_kinds", "conditional")
        self.parameters = {
            "kind": {"values": ["sgd", "adam", "rms"]},
            "lr": {"low": 1e-5, "high": 1e-1, "log": True},
            "layers": {"low": 1, "high": 8},
            "momentum": {"low": 0.0, "high": 1.0, "when": {"kind": ["sgd", "rms"]}},
            "beta": {"low": 1e-4, "high": 1e-1, "log": True, "when": {"kind": ["adam"]}},
            "decay": {"low": 0.0, "high": 1.0, "step": 0.05, "when": {"kind": ["adam"]}},
        }

    def point(self, parameters: Mapping[str, Any]) -> Point:
        kind = float(["sgd", "adam", "rms"].index(parameters["kind"]))
        beta = math.log10(parameters.get("beta", 1e-4)) / 3 + 4 / 3
        lr = math.log10(parameters["lr"]) / 4 + 5 / 4
        return [kind, lr, parameters["layers"] / 8, parameters.get("momentum", 0.0), beta, parameters.get("decay", 0.0)]


def made_up() -> Iterator[Problem]:
    """Different functions under different curves."""
    yield MadeUp(branin, 2, power, 27, 0.0)
    yield MadeUp(branin, 2, crossing, 81, 0.0)
    yield MadeUp(hartmann, 6, power, 27, 0.03)
    yield MadeUp(hartmann, 6, exploding, 50, 0.0)
    yield MadeUp(ackley, 5, overfit, 27, 0.0)
    yield MadeUp(rosenbrock, 4, plateau, 50, 0.0)
    yield MadeUp(bowl, 10, crossing, 27, 0.02)
    yield Conditional(power, 27, 0.02)
    yield Conditional(plateau, 81, 0.0)


def _of_kinds(u: Point) -> float:
    kind, lr, layers, momentum, beta, decay = u
    shared = 2 * (lr - 0.62) ** 2 + 0.3 * abs(layers - 0.625)
    if kind == 1:
        return shared + (beta - 0.7) ** 2 + 1.5 * (decay - 0.25) ** 2
    return shared + 0.08 + 0.05 * kind + 0.4 * (momentum - 0.9) ** 2
