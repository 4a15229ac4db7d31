"""Knobs of single layers: `model.hidden.1` is the width of the second hidden layer."""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_LAYERS = 32
# The knobs that are a list with an entry a layer, and the models that take them.
LAYERED = {
    "model.hidden": frozenset({"mlp", "embedding_bag"}),
    "model.channels": frozenset({"cnn"}),
    "model.cells": frozenset({"cnn"}),
}
_PATH = re.compile(r"(.+)\.(0|[1-9][0-9]?)")


class Layer(NamedTuple):
    """One entry of a list, counted from 0."""

    of: str
    place: int


def layer_of(path: str) -> Layer | None:
    """What a dotted path names if it is the knob of a single layer."""
    parts = _PATH.fullmatch(path)
    if parts is None or parts[1] not in LAYERED or int(parts[2]) >= MOST_LAYERS:
        return None
    return Layer(parts[1], int(parts[2]))
