"""Reads images: IDX files, arrays in .npz files, and folders of class folders."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from sklearn import datasets

from trainer.config import Channels
from trainer.data.images import Images, channels_first
from trainer.errors import DataError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
OTHER_IMAGES = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg")  # they would be missed, if nothing were said
_IDX_BYTES = 8  # the code of unsigned bytes in an IDX header
_CHUNK_BYTES = 2**24


def read_idx(stream: IO[bytes]) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, the format of the MNIST family.

    Raises:
        ValueError: it is no such file, or cut short.
    """
    zeros, kind, dimensions = struct.unpack(">HBB", stream.read(4).ljust(4, b"\xff"))
    if zeros != 0 or kind != _IDX_BYTES or not 1 <= dimensions <= 4:
        raise ValueError("its header is not that of an IDX file of unsigned bytes")
    shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions).ljust(4 * dimensions, b"\0"))
    promised = math.prod(shape)
    held = _read_at_most(stream, promised + 1)
    if len(held) != promised:
        count = "more" if len(held) > promised else len(held)
        raise ValueError(f"its header promises {' × '.join(map(str, shape))} values, and it holds {count}")
    return np.frombuffer(held, np.uint8).reshape(shape)


def _read_at_most(stream: IO[bytes], size: int) -> bytearray:
    """Of a stream that may unfold to anything, so many bytes; the room for them is taken as they come."""
    held = bytearray()
    while chunk := stream.read(min(size - len(held), _CHUNK_BYTES)):
        held += chunk
    return held


def idx_images(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], path: str, channels: Channels) -> Images:
    if labels.ndim != 1 or len(labels) != len(pixels):
        message = f"{len(pixels)} images have labels of shape {labels.shape}"
        raise DataError(path, message, "name the labels of these images in data.labels")
    return Images(channels_first(pixels, path, channels), pd.Series(labels, name="label"))


def array_images(
    pixels: NDArray[np.generic], labels: NDArray[np.generic], path: str, channels: Channels = "auto"
) -> Images:
    """Images of an array of whole numbers from 0 to 255."""
    whole = pixels.astype(np.uint8) if np.issubdtype(pixels.dtype, np.number) else None
    if whole is None or not np.array_equal(whole, pixels):
        raise DataError(path, f"its pixels are {pixels.dtype}, not whole numbers from 0 to 255", "store them as uint8")
    return Images(channels_first(whole, path, channels), pd.Series(labels, name="label"))


def digits() -> Images:
    """scikit-learn's handwritten digits, 8 × 8 pixels of 0 to 16."""
    bunch = datasets.load_digits()
    return array_images(bunch.images, bunch.target, "trial.data.source")


def read_folder(folder: Path, path: str, allowed: Sequence[Path], side: int | None) -> Images:
    """All images of a folder whose folders are the classes, sorted by name; grey if all are, else in colours. What is
    hidden, as `.ipynb_checkpoints`, is none of them.

    Args:
        allowed: where images may lie, symbolic links resolved.
        side: makes every image a square of so many pixels; else all must have one size.

    Raises:
        DataError: there is no image, one cannot be read, moves or has more than 8 bits a pixel, or sizes differ.
    """
    held = [file for file in sorted(folder.glob("[!.]*/[!.]*")) if file.is_file()]
    if others := [file for file in held if file.suffix.lower() in OTHER_IMAGES]:
        message = f"{len(others)} images, {_called(others[0])} first, are of a kind that is not read"
        raise DataError(path, message, f"save them as {' '.join(IMAGE_ENDINGS)}, or take them away")
    files = [file for file in held if file.suffix.lower() in IMAGE_ENDINGS]
    if not files:
        hint = f"a folder for each class, with {' '.join(IMAGE_ENDINGS)} in it"
        raise DataError(path, f"{folder.name} holds no images", hint)
    for file in files:
        if not any(file.resolve().is_relative_to(each) for each in allowed):
            raise DataError(path, f"{_called(file)} lies outside the folders that may be read", "copy it there")
    images = list(_images(files, path, side))
    grey = all(image.mode == "L" for image in images)
    pixels = np.stack([np.asarray(image.convert("L" if grey else "RGB")) for image in images])
    return Images(channels_first(pixels, path, "last"), pd.Series([file.parent.name for file in files], name="label"))


def has_deep_pixels(image: Image.Image) -> bool:
    """Whether Pillow would cut its values off at 255."""
    return image.mode.startswith(("I", "F"))


def has_several_pictures(image: Image.Image) -> bool:
    """Whether it moves or has pages, of which one alone would be read. The preview in a phone's JPEG is none."""
    return image.format in ("GIF", "WEBP", "TIFF") and getattr(image, "n_frames", 1) > 1


def _images(files: Sequence[Path], path: str, side: int | None) -> Iterator[Image.Image]:
    size = (side, side) if side else None
    for file in files:
        image = _open(file, path)
        size = size or image.size
        if image.size != size and side is None:
            sizes = f"{image.size[0]} × {image.size[1]}, and {_called(files[0])} {size[0]} × {size[1]}"
            raise DataError(path, f"{_called(file)} has {sizes} pixels", "set image_size to bring all to one size")
        yield image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _called(file: Path) -> str:
    """With the folder of its class: each may have a 1.png."""
    return f"{file.parent.name}/{file.name}"


def _open(file: Path, path: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if has_deep_pixels(image):
                    hint = "save it with 8, its values brought to 0 … 255"
                    raise DataError(path, f"{_called(file)} has more than 8 bits a pixel", hint)
                if has_several_pictures(image):
                    raise DataError(path, f"{_called(file)} moves or has several pages", "save it as one picture")
                image.load()
                # Black and white as grey: in one bit they would be made smaller by leaving pixels out.
                return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except (OSError, SyntaxError, TypeError, ValueError, Warning, Image.DecompressionBombError) as error:
        raise DataError(path, f"{_called(file)} cannot be read: {error}") from error
