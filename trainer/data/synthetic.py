"""Makes the rows of `synthetic:` sources up, from their seed alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import make_classification, make_regression

from trainer.data.images import Images
from trainer.generators import Classification, Generator, Regression, Shapes, Spirals, Texts

Random = np.random.Generator
Mask = NDArray[np.bool_]

SHAPES = ("circle", "square", "triangle", "cross")
LIKED_WORDS = 10  # words that a class likes better than the others do
COMMON_WORDS = 500


def generate(generator: Generator) -> pd.DataFrame | Images:
    """A table whose last column is the target, or images."""
    match generator:
        case Classification():
            return _classification(generator)
        case Regression():
            return _regression(generator)
        case Spirals():
            return _spirals(generator, np.random.default_rng(generator.seed))
        case Shapes():
            return _shapes(generator, np.random.default_rng(generator.seed))
        case Texts():
            return _texts(generator, np.random.default_rng(generator.seed))
    raise TypeError(f"{type(generator).__name__} makes no rows")


def _classification(wanted: Classification) -> pd.DataFrame:
    x, y = make_classification(
        wanted.rows, wanted.columns, n_informative=wanted.informative, n_redundant=0, n_repeated=0,
        n_classes=wanted.classes, n_clusters_per_class=1, flip_y=wanted.noise, random_state=wanted.seed,
    )  # fmt: skip
    return _table(x).assign(target=[f"class {label}" for label in y])


def _regression(wanted: Regression) -> pd.DataFrame:
    x, y = make_regression(
        wanted.rows, wanted.columns, n_informative=wanted.informative, noise=wanted.noise, random_state=wanted.seed
    )
    return _table(x).assign(target=y)


def _spirals(wanted: Spirals, random: Random) -> pd.DataFrame:
    arm = np.arange(wanted.rows) % wanted.classes
    out = np.sqrt(random.uniform(0, 1, wanted.rows))  # as many rows on each piece of an arm, wherever it lies
    angle = 2 * np.pi * (wanted.turns * out + arm / wanted.classes)
    x = np.stack([out * np.cos(angle), out * np.sin(angle)], 1) + random.normal(0, wanted.noise, (wanted.rows, 2))
    return _table(x).assign(target=[f"arm {each}" for each in arm])


def _shapes(wanted: Shapes, random: Random) -> Images:
    kinds = np.arange(wanted.rows) % len(SHAPES)
    drawn = np.stack([_shape(SHAPES[kind], wanted.size, random) for kind in kinds])
    light = random.uniform(0.5, 1, (wanted.rows, 1, 1))
    pixels = drawn * light + random.normal(0, wanted.noise, drawn.shape)
    grey = (pixels.clip(0, 1) * 255).astype(np.uint8)[:, np.newaxis]
    return Images(grey, pd.Series([SHAPES[kind] for kind in kinds], name="shape"))


def _shape(kind: str, size: int, random: Random) -> Mask:
    """(size, size): a shape that lies wholly within the image."""
    half = random.uniform(0.2, 0.4) * size
    at = random.uniform(half, size - half, 2)
    down, right = np.mgrid[:size, :size] + 0.5 - at[:, np.newaxis, np.newaxis]
    inside: Mask = np.maximum(abs(down), abs(right)) <= half
    match kind:
        case "circle":
            inside = np.hypot(down, right) <= half
        case "triangle":
            inside &= 2 * abs(right) <= down + half
        case "cross":
            inside &= np.minimum(abs(down), abs(right)) <= half / 3
    return inside


def _texts(wanted: Texts, random: Random) -> pd.DataFrame:
    """Common words are drawn by Zipf's law, those that a class likes evenly."""
    label = np.arange(wanted.rows) % wanted.classes
    ranks = 1 / np.arange(1, COMMON_WORDS + 1)
    texts = []
    for each, length in zip(label, 1 + random.poisson(wanted.words - 1, wanted.rows), strict=True):
        common = random.choice(COMMON_WORDS, length, p=ranks / ranks.sum())
        liked = COMMON_WORDS + each * LIKED_WORDS + random.integers(0, LIKED_WORDS, length)
        texts.append(" ".join(map(_word, np.where(random.random(length) < wanted.noise, common, liked))))
    return pd.DataFrame({"text": texts, "label": [f"class {each}" for each in label]})


def _word(number: int) -> str:
    """Letters alone: a tokenizer may take all digits for one."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    return syllables[number % len(syllables)] + syllables[number // len(syllables)]


def _table(x: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"x{column}" for column in range(x.shape[1])])
