"""What everything that is learned from a training part is written down as."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A part of what is kept with a model, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")
