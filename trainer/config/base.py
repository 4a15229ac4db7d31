"""What the sections of a training's configuration are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Rate = Annotated[FiniteFloat, Field(gt=0)]
NonNegative = Annotated[FiniteFloat, Field(ge=0)]
Probability = Annotated[FiniteFloat, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Width = Annotated[int, Field(ge=1, le=65_536)]
ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
TaskName = Literal["classification", "regression"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
