"""Where the rows come from, how they are divided and prepared, and what is done to each batch."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from trainer import generators
from trainer.config.base import ColumnName, Count, NonNegative, Probability, Section, Seed

BUNDLED = ("iris", "wine", "breast_cancer", "digits", "diabetes")  # of scikit-learn's


def _known(source: str) -> str:
    """Of a source that needs no files, whether there is one."""
    kind, _, name = source.partition(":")
    if kind == "sklearn" and name not in BUNDLED:
        raise ValueError(f"scikit-learn's {name!r} is not offered; one of {', '.join(BUNDLED)}")
    if kind == "synthetic":
        generators.parse(name)
    return source


Source = Annotated[
    str, Field(pattern=r"^(sklearn|file|dataset|synthetic):[^\x00-\x1f]{1,1024}$"), AfterValidator(_known)
]


ISO = "iso"  # a date with the year first, as 2023-05-01 or 2023-05-01T14:30:00+02:00
_DIRECTIVES = frozenset("YymdbBjHIMSfpz%")


def _tells_dates(written: str) -> str:
    """Of a format as strptime takes it, whether it says which date is meant."""
    found = re.findall(r"%(.?)", written)
    if written == ISO:
        return written
    if unknown := [each for each in found if each not in _DIRECTIVES]:
        raise ValueError(f"%{unknown[0]} is not read; of strptime's there are %{' %'.join(sorted(_DIRECTIVES))}")
    if not {"Y", "y"} & {*found} or ("d" in found and not {"m", "b", "B"} & {*found}):
        raise ValueError("a date needs a year, and a day its month: as %d/%m/%Y, or iso where the year comes first")
    if ("I" in found) != ("p" in found):
        raise ValueError("hours up to 12 need %I and %p, and those up to 24 %H alone")
    return written


DateFormat = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_tells_dates)]


class Split(Section):
    """Shares of the rows held out; stratified by class where the task is a classification."""

    validation: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.2
    test: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.2
    stratify: bool = True  # not with groups or time
    groups: ColumnName | None = None  # rows with one value of it are in one part; it is no feature
    time: ColumnName | None = None  # the latest rows test, those before validate; a feature only if `dates` names it
    duplicates: Literal["anywhere", "together", "drop"] = "anywhere"  # rows that are the same but for the target
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_thing_divides(self) -> Self:
        chosen = [name for name in ("groups", "time") if getattr(self, name) is not None]
        chosen += ["duplicates: together"] if self.duplicates == "together" else []
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} each decide where a row goes; choose one of them")
        return self

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.validation + self.test >= 1:
            parts = f"validation {self.validation:g} and test {self.test:g}"
            raise ValueError(f"{parts} leave no rows to train on; let them come to less than 1")
        return self


class Augment(Section):
    """Changes to the rows of each batch that leave what they mean alone. 0 is off."""

    flip: bool = False  # images: left to right, every other one
    crop: Annotated[int, Field(ge=0, le=256)] = 0  # images: shifted by up to so many pixels
    rotation: Annotated[FiniteFloat, Field(ge=0, le=180)] = 0.0  # images: by up to so many degrees
    scaling: Annotated[FiniteFloat, Field(ge=0, le=0.9)] = 0.0  # images: larger or smaller by up to this share
    translation: Annotated[FiniteFloat, Field(ge=0, le=0.9)] = 0.0  # images: shifted by up to this share of a side
    colour: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0  # images: brightness, contrast, colour by up to this share
    erase: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0  # images: the share of them with a rectangle of noise
    randaugment: Annotated[int, Field(ge=0, le=30)] = 0  # images: how strong the two operations on each are
    cutout: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0  # a black square, its side; tables: this share of columns
    cutmix: Annotated[FiniteFloat, Field(ge=0, le=10)] = 0.0  # both parameters of the beta distribution of the share
    mixup: Annotated[FiniteFloat, Field(ge=0, le=10)] = 0.0  # likewise
    fgsm: NonNegative = 0.0  # how far each number goes uphill; tables: in normalized units; images: of black to white
    only: Literal["none", "mixup", "cutmix", "cutout", "fgsm"] | None = None  # of these four, the one that acts
    probability: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0  # mixup, cutmix, cutout: share of batches
    noise: NonNegative = 0.0  # deviation, in the units of fgsm
    feature_dropout: Probability = 0.0  # tables
    swap: Probability = 0.0  # tables: values taken from other rows; texts: tokens that change places with the next
    token_dropout: Probability = 0.0  # texts
    span_dropout: Probability = 0.0  # texts: likewise, but three tokens in a row

    @property
    def acting(self) -> Augment:
        """These, those off that `only` leaves out."""
        off = EXCLUSIVE - {self.only} if self.only else ()
        return self.model_copy(update=dict.fromkeys(off, 0.0))

    @property
    def chosen(self) -> frozenset[str]:
        """The names of those that are on."""
        return frozenset(name for name, value in self.acting if value and name not in ("only", "probability"))

    @model_validator(mode="after")
    def _one_way_of_mixing(self) -> Self:
        if {"mixup", "cutmix"} <= self.chosen:
            raise ValueError("mixup and cutmix each mix a batch with itself; set one of them to 0")
        return self


EXCLUSIVE = frozenset({"mixup", "cutmix", "cutout", "fgsm"})
# What the numbers of a table, and the channels of images, can be brought to a scale by
NORMALIZED = {
    "table": frozenset({"none", "standard", "minmax", "robust", "quantile", "power"}),
    "image": frozenset({"none", "standard", "minmax", "robust", "per_channel"}),
}
AUGMENTED = {
    "image": EXCLUSIVE
    | {"flip", "crop", "rotation", "scaling", "translation", "colour", "erase", "randaugment", "noise"},
    "table": EXCLUSIVE | {"noise", "feature_dropout", "swap"},
    "text": frozenset({"swap", "token_dropout", "span_dropout"}),
    "subwords": frozenset(),
}
OVERSAMPLERS = frozenset({"random", "smote", "borderline_smote", "adasyn"})


class Synthetic(Section):
    """Rows of a table made up from those of the training part, class by class."""

    method: Literal[
        "none", "random", "smote", "borderline_smote", "adasyn", "gaussian_mixture", "gaussian_copula", "noise"
    ] = "none"
    share: Annotated[FiniteFloat, Field(ge=0, le=4)] = 1.0  # of what a class lacks to the largest, or of its own rows
    noise: NonNegative = 0.1  # in deviations of the class

    @model_validator(mode="after")
    def _classes_are_at_most_equal(self) -> Self:
        if self.method in OVERSAMPLERS and self.share > 1:
            raise ValueError(f"{self.method} fills classes up to the largest, at a share of 1; let share be 1 at most")
        return self


Words = Literal["by_script", "plain"]
Channels = Literal["auto", "first", "last"]


class Data(Section):
    """Where the rows come from and how they are prepared; everything fitted is fitted on the training part only."""

    source: Source
    test_source: Source | None = None
    labels: Source | None = None  # of IDX images; left out, the file with `labels-idx1` for `images-idx3` in its name
    test_labels: Source | None = None
    task: Literal["auto", "classification", "regression"] = "auto"
    target: ColumnName | None = None  # the last column
    drop: list[ColumnName] = Field(default=[])
    missing_values: list[str] = Field(default=[])
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None  # by the file's ending
    decimal: Literal[".", ","] = "."  # what stands before the fraction of a number in a text file
    quoting: Literal["standard", "none"] = "standard"  # none: a quotation mark in a field is a character like others
    text: ColumnName | None = None  # makes it a text task, learned from this column alone
    vocabulary: Count = 10_000  # so many of the training part's tokens are known, the most frequent ones
    lower_case: bool = True
    words: Words = "by_script"  # what belongs to a word; plain: letters and digits alone, in all scripts
    tokens: Literal["words", "subwords"] = "words"  # subwords: each word, and its runs of 3 and 4 letters besides
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 128  # what follows in a longer text is cut off
    channels: Channels = "auto"  # images in arrays and IDX files: where their channels are, if both could be
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None  # images of a folder are made squares of this side
    split: Split = Split()
    normalize: Literal["none", "standard", "minmax", "robust", "quantile", "power", "per_channel"] = "standard"
    impute: Literal["mean", "median", "most_frequent"] = "median"
    categorical: list[ColumnName] = Field(default=[])  # columns of numbers that are names, such as codes
    dates: dict[ColumnName, DateFormat] = Field(default={})  # columns of them, by how they are written
    find_dates: bool = True  # and other columns that hold nothing but dates with the year first
    max_categories: Count | None = None  # of a column, the most frequent ones; the others share one
    min_category_rows: Count = 1  # rarer ones share one, too
    class_weight: Literal["none", "balanced"] = "none"
    augment: Augment = Augment()
    synthetic: Synthetic = Synthetic()

    @model_validator(mode="after")
    def _one_kind_a_column(self) -> Self:
        if twice := sorted({*self.categorical} & self.dates.keys()):
            raise ValueError(f"{twice[0]} stands in dates and in categorical; choose one of them")
        return self

    @property
    def preparation(self) -> str:
        """What the prepared data depend on; equal ones are prepared once."""
        return self.model_dump_json(exclude={"augment"})
