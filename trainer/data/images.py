"""Images: pixels as bytes, and the scale of each channel, which the training part decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainer.config import NORMALIZED, Channels, Data
from trainer.data.document import Document
from trainer.data.schema import Target
from trainer.errors import DataError

Pixels = NDArray[np.uint8]
COUNTS = (1, 3, 4)  # of channels: grey, colours, and colours with a mask or a fourth one
AXES: dict[Channels, int] = {"first": 1, "last": 3}


@dataclass(frozen=True)
class Images:
    """Labelled images, as they come from a source."""

    pixels: Pixels  # (rows, channels, height, width)
    labels: pd.Series  # (rows,)


class ImageSchema(Document):
    """What the training part says about images: their size, and by which scale each channel is normalized."""

    kind: Literal["image"] = "image"
    channels: int
    height: int
    width: int
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    target: Target

    @property
    def columns(self) -> list[str]:
        return []

    def encode(self, pixels: Pixels) -> tuple[Pixels]:
        """The pixels as they are: the model itself normalizes them, so that a byte each is all they take.

        Args:
            pixels: (rows, height, width), (rows, height, width, channels) or (rows, channels, height, width); the last
                where all three are equal.

        Raises:
            DataError: they are of another size.
        """
        wanted, last = (self.channels, self.height, self.width), (self.height, self.width, self.channels)
        images = np.asarray(pixels, dtype=np.uint8)
        if images.ndim == 3:
            images = images[:, np.newaxis]
        if images.shape[1:] == last != wanted:
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        if images.shape[1:] != wanted:
            raise DataError("rows", f"images are {images.shape[1:]}, and were trained on as {wanted}", "resize them")
        return (images,)

    def facts(self, _missing: Mapping[str, int]) -> dict[str, Any]:
        size = {"channels": self.channels, "height": self.height, "width": self.width}
        return {"columns": [], "excluded": [], "image": size}


def fit_images(train: Pixels, data: Data, target: Target) -> ImageSchema:
    """Learn the scale of each channel from the training part; (rows, channels, height, width).

    Raises:
        DataError: images are not normalized so.
    """
    if data.normalize not in NORMALIZED["image"]:
        hint = f"one of {', '.join(sorted(NORMALIZED['image']))}"
        raise DataError("trial.data.normalize", f"{data.normalize} takes columns of a table, not images", hint)
    scales = [_scale(train[:, channel], data.normalize) for channel in range(train.shape[1])]
    channels, height, width = train.shape[1:]
    return ImageSchema(
        channels=channels,
        height=height,
        width=width,
        shift=tuple(shift for shift, _ in scales),
        scale=tuple(scale for _, scale in scales),
        target=target,
    )


def rescaled(schema: ImageSchema, scale: tuple[float, float]) -> ImageSchema:
    """The same with one mean and one deviation for all channels."""
    shift, deviation = scale
    return schema.model_copy(update={"shift": (shift,) * schema.channels, "scale": (deviation,) * schema.channels})


def channels_first(pixels: Pixels, path: str, told: Channels = "auto") -> Pixels:
    """(rows, channels, height, width) of images with their channels first, last or, where there is one, left out.

    Args:
        path: of the images in the study, for errors.
        told: where the channels are; `auto` goes by their number, if that leaves no doubt.

    Raises:
        DataError: the array is none of these, or may be two.
    """
    if pixels.ndim == 3:
        return pixels[:, np.newaxis]
    places = {place: axis for place, axis in AXES.items() if pixels.ndim == 4 and pixels.shape[axis] in COUNTS}
    if not places:
        hint = "(rows, height, width), or 1, 3 or 4 channels as a further axis"
        raise DataError(path, f"an array of shape {pixels.shape} holds no images", hint)
    if told == "auto" and len(places) > 1:
        first, *_, last = shape = pixels.shape[1:]
        message = f"images of shape {shape} have {first} channels first or {last} last"
        raise DataError("trial.data.channels", message, "say which, as in channels: last")
    if told != "auto" and told not in places:
        message = f"an array of shape {pixels.shape} has no 1, 3 or 4 channels {told}"
        raise DataError("trial.data.channels", message, "leave it out")
    is_last = "last" in places if told == "auto" else told == "last"
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if is_last else pixels


def _scale(values: Pixels, normalize: str) -> tuple[float, float]:
    if normalize == "none":
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if normalize == "minmax":
        return low, (high - low) or 1.0
    # From the histogram: exact, and without a copy of the pixels as floats
    share = np.bincount(values.reshape(-1), minlength=256) / values.size
    if normalize == "robust":
        lower, middle, upper = np.searchsorted(share.cumsum(), (0.25, 0.5, 0.75)).tolist()
        return float(middle), float(upper - lower) or 1.0
    mean = float(share @ np.arange(256))
    return mean, float(np.sqrt(share @ (np.arange(256) - mean) ** 2)) or 1.0
