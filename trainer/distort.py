"""Images moved, recoloured and partly hidden, each in its own way; drawn anew for each batch, on the device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from trainer.config import Augment

PIXEL_RANGE = 255
GREY = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)

# RandAugment, for a magnitude of 30
OPERATIONS_AN_IMAGE = 2
TURN, SHEAR, SHIFT, FACTOR = math.radians(30), 0.3, 0.45, 0.9
STRONGEST = 30


def distort(images: Tensor, knobs: Augment, noise: Generator) -> Tensor:
    """(batch, channels, height, width) of raw pixels; what comes in from outside is 0, black."""
    if knobs.flip:
        images = torch.where(_spread(_uniform(images, noise) < 0.5), images.flip(3), images)
    if knobs.rotation or knobs.scaling or knobs.translation:
        images = _move(images, knobs, noise)
    if knobs.crop:
        images = _crop(images, knobs.crop, noise)
    if knobs.colour:
        images = _recolour(images.float(), knobs.colour, noise)
    if knobs.randaugment:
        images = _rand_augment(images.float(), knobs.randaugment / STRONGEST, noise)
    return _erase(images, knobs.erase, noise) if knobs.erase else images


def _move(images: Tensor, knobs: Augment, noise: Generator) -> Tensor:
    """Turned, made larger or smaller, and shifted, in one look at each pixel."""
    angle = math.radians(knobs.rotation) * _either_way(images, noise)
    size = 1 + knobs.scaling * _either_way(images, noise)
    right, down = (2 * knobs.translation * _either_way(images, noise) for _ in range(2))
    return _looked_up(images, angle.cos() / size, angle.sin() / size, right, down)


def _looked_up(images: Tensor, along: Tensor, across: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Each pixel from where a turn, a change of size and a shift bring it to; all (batch,), half an image is 1."""
    where = torch.stack([along, -across, right, across, along, down], 1).view(-1, 2, 3)
    return _sampled(images, where)


def _sampled(images: Tensor, where: Tensor) -> Tensor:
    grid = functional.affine_grid(where, list(images.shape), align_corners=False)
    return functional.grid_sample(images.float(), grid, align_corners=False)


def _crop(images: Tensor, padding: int, noise: Generator) -> Tensor:
    """Each image out of itself with a border, at a place of its own (He et al. 2016, section 4.2)."""
    batch, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    down, right = (torch.randint(2 * padding + 1, (batch, 1), generator=noise, device=noise.device) for _ in range(2))
    rows = (torch.arange(height, device=images.device) + down)[:, :, None]  # (batch, height, 1)
    columns = (torch.arange(width, device=images.device) + right)[:, None, :]  # (batch, 1, width)
    cropped = padded[torch.arange(batch, device=images.device)[:, None, None], :, rows, columns]
    return cropped.permute(0, 3, 1, 2)


def _recolour(images: Tensor, most: float, noise: Generator) -> Tensor:
    """Brighter or darker, then with more or less contrast, then with more or less colour."""
    brightness, contrast, saturation = (_spread(1 + most * _either_way(images, noise)) for _ in range(3))
    return _saturated(_contrasted(_bounded(images * brightness), contrast), saturation)


def _contrasted(images: Tensor, factor: Tensor) -> Tensor:
    return _bounded(torch.lerp(_grey(images).mean((1, 2, 3), keepdim=True), images, factor))


def _saturated(images: Tensor, factor: Tensor) -> Tensor:
    return _bounded(torch.lerp(_grey(images), images, factor)) if images.shape[1] == 3 else images


def _grey(images: Tensor) -> Tensor:
    """(batch, 1, height, width)."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _erase(images: Tensor, share: float, noise: Generator) -> Tensor:
    """A rectangle of 2 to 33 per cent of some images made random pixels (Zhong et al. 2020, algorithm 1)."""
    height, width = images.shape[2:]
    area = (0.02 + 0.31 * _uniform(images, noise)) * height * width
    aspect = torch.exp(_either_way(images, noise) * math.log(10 / 3))
    tall, wide = (area * aspect).sqrt().clamp(max=height), (area / aspect).sqrt().clamp(max=width)
    row, column = (_uniform(images, noise) * (side - size) + size / 2 for side, size in ((height, tall), (width, wide)))
    chosen = _uniform(images, noise) < share
    inside = box(row, column, tall / 2, wide / 2, images) & chosen[:, None, None]
    pixels = PIXEL_RANGE * torch.rand(images.shape, generator=noise, device=noise.device)
    return torch.where(inside[:, None], pixels.to(images.dtype), images)


def box(row: Tensor, column: Tensor, tall: Tensor, wide: Tensor, images: Tensor) -> Tensor:
    """(boxes, height, width), bool: the pixels whose middles lie within half a height and half a width of a point."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + 0.5
    columns = torch.arange(width, device=images.device) + 0.5
    near = (rows - row[:, None]).abs() < tall.reshape(-1, 1)  # (boxes, height)
    return near[:, :, None] & ((columns - column[:, None]).abs() < wide.reshape(-1, 1))[:, None, :]


def _rand_augment(images: Tensor, magnitude: float, noise: Generator) -> Tensor:
    """Two operations after another, drawn for each image; how strong they are is one number (Cubuk et al. 2020)."""
    for _ in range(OPERATIONS_AN_IMAGE):
        drawn = torch.randint(len(_OPERATIONS), (len(images),), generator=noise, device=noise.device)
        signs = _spread(torch.where(_uniform(images, noise) < 0.5, -1.0, 1.0))
        changed = images.clone()
        for place, operation in enumerate(_OPERATIONS):
            rows = (drawn == place).nonzero()[:, 0]
            if len(rows):
                changed[rows] = operation(images[rows], magnitude, signs[rows])
        images = _bounded(changed)
    return images


def _turned(images: Tensor, magnitude: float, signs: Tensor) -> Tensor:
    angle = TURN * magnitude * signs.flatten()
    still = torch.zeros_like(angle)
    return _looked_up(images, angle.cos(), angle.sin(), still, still)


def _sheared(images: Tensor, magnitude: float, signs: Tensor, *, down: bool = False) -> Tensor:
    slope = SHEAR * magnitude * signs.flatten()
    one, none = torch.ones_like(slope), torch.zeros_like(slope)
    sheared = [one, none, none, slope, one, none] if down else [one, slope, none, none, one, none]
    return _sampled(images, torch.stack(sheared, 1).view(-1, 2, 3))


def _shifted(images: Tensor, magnitude: float, signs: Tensor, *, down: bool = False) -> Tensor:
    far = 2 * SHIFT * magnitude * signs.flatten()
    one, none = torch.ones_like(far), torch.zeros_like(far)
    return _looked_up(images, one, none, *((none, far) if down else (far, none)))


def _stretched(images: Tensor, _magnitude: float, _signs: Tensor) -> Tensor:
    """Each channel from black to white."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) * PIXEL_RANGE / (high - low).clamp(min=1), images)


def _equalized(images: Tensor, _magnitude: float, _signs: Tensor) -> Tensor:
    from kornia.enhance import equalize  # importing it takes a second, and few trainings want it

    equal: Tensor = equalize(images / PIXEL_RANGE)
    return equal * PIXEL_RANGE


def _posterized(images: Tensor, magnitude: float, _signs: Tensor) -> Tensor:
    step = 2.0 ** round(4 * magnitude)  # 8 bits a channel, down to 4
    return (images / step).floor() * step


def _solarized(images: Tensor, magnitude: float, _signs: Tensor) -> Tensor:
    return torch.where(images >= PIXEL_RANGE * (1 - magnitude) + 1, PIXEL_RANGE - images, images)


def _sharpened(images: Tensor, magnitude: float, signs: Tensor) -> Tensor:
    blurred = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    return torch.lerp(blurred, images, 1 + FACTOR * magnitude * signs)


_OPERATIONS: tuple[Callable[[Tensor, float, Tensor], Tensor], ...] = (
    lambda images, _magnitude, _signs: images,
    _stretched,
    _equalized,
    _turned,
    _solarized,
    _posterized,
    _sharpened,
    lambda images, magnitude, signs: images * (1 + FACTOR * magnitude * signs),
    lambda images, magnitude, signs: _contrasted(images, 1 + FACTOR * magnitude * signs),
    lambda images, magnitude, signs: _saturated(images, 1 + FACTOR * magnitude * signs),
    _sheared,
    lambda images, magnitude, signs: _sheared(images, magnitude, signs, down=True),
    _shifted,
    lambda images, magnitude, signs: _shifted(images, magnitude, signs, down=True),
)


def _bounded(images: Tensor) -> Tensor:
    return images.clamp(0, PIXEL_RANGE)


def _uniform(images: Tensor, noise: Generator) -> Tensor:
    """(batch,), from 0 to 1."""
    return torch.rand(len(images), generator=noise, device=noise.device)


def _either_way(images: Tensor, noise: Generator) -> Tensor:
    """(batch,), from -1 to 1."""
    return 2 * _uniform(images, noise) - 1


def _spread(values: Tensor) -> Tensor:
    """(batch,) to (batch, 1, 1, 1)."""
    return values[:, None, None, None]
