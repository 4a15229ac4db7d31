"""The sources that are made up on the spot, `synthetic:NAME?option=value&…`, for trying things out. Torch-free, as the
configuration is: the rows themselves come from `trainer.data.synthetic`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Self
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class Generator(BaseModel):
    """What every generator may be told: how many rows, and the seed that decides all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rows: Annotated[int, Field(ge=10, le=1_000_000)] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Classification(Generator):
    """A table: clusters of points around the corners of a cube, a class each, among columns that say nothing."""

    columns: Annotated[int, Field(ge=2, le=1000)] = 20
    informative: Annotated[int, Field(ge=2, le=1000)] = 5
    classes: Annotated[int, Field(ge=2, le=100)] = 2
    noise: Share = 0.01  # of the rows, whose class is drawn at random

    @model_validator(mode="after")
    def _has_corners_for_its_classes(self) -> Self:
        _refuse_more_than_columns(self.informative, self.columns)
        if self.classes > 2 ** min(self.informative, 16):
            raise ValueError(f"{self.informative} informative columns have no {self.classes} corners; take more")
        return self


class Regression(Generator):
    """A table whose target is a weighted sum of a few columns, and noise of a given deviation."""

    columns: Annotated[int, Field(ge=1, le=1000)] = 10
    informative: Annotated[int, Field(ge=1, le=1000)] = 5
    noise: Annotated[FiniteFloat, Field(ge=0)] = 1.0

    @model_validator(mode="after")
    def _has_its_informative_columns(self) -> Self:
        _refuse_more_than_columns(self.informative, self.columns)
        return self


class Spirals(Generator):
    """A table of two columns: arms of a spiral, a class each, which no straight line divides."""

    classes: Annotated[int, Field(ge=2, le=20)] = 2
    turns: Annotated[FiniteFloat, Field(gt=0, le=10)] = 1.5
    noise: Annotated[FiniteFloat, Field(ge=0, le=10)] = 0.05  # deviation; the outer end is at 1


class Shapes(Generator):
    """Grey images: circles, squares, triangles and crosses of some size, place and brightness, under noise."""

    size: Annotated[int, Field(ge=8, le=256)] = 16  # pixels of a side
    noise: Share = 0.1  # deviation, 1 is white


class Texts(Generator):
    """A table of `text` and `label`: words drawn by their rank, some of which a class prefers."""

    classes: Annotated[int, Field(ge=2, le=20)] = 2
    words: Annotated[int, Field(ge=1, le=1000)] = 12  # of a text, in the mean
    noise: Share = 0.5  # of the words, drawn alike for all classes


GENERATORS: dict[str, type[Generator]] = {
    "classification": Classification, "regression": Regression, "spirals": Spirals, "shapes": Shapes, "texts": Texts,
}  # fmt: skip


def parse(name: str) -> Generator:
    """The generator of `NAME?option=value&…`.

    Raises:
        ValueError: there is no such generator or option, or a value is out of its range; says what there is.
    """
    name, _, query = name.partition("?")
    if name not in GENERATORS:
        raise ValueError(f"synthetic:{name} is not there; {_nearest(name, list(GENERATORS))}")
    kind = GENERATORS[name]
    options = parse_qsl(query, keep_blank_values=True)
    for option, _ in options:
        if option not in kind.model_fields:
            raise ValueError(f"synthetic:{name} has no option {option!r}; {_nearest(option, list(kind.model_fields))}")
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{step} " for step in first["loc"])
        raise ValueError(f"synthetic:{name}: {place}{_lowered(first['msg'])}") from None


def _refuse_more_than_columns(informative: int, columns: int) -> None:
    if informative > columns:
        raise ValueError(f"{informative} informative columns are more than all {columns}; raise columns")


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def _lowered(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
