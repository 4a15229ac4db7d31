"""Changes to the rows of a batch that leave what they mean alone; drawn anew for each batch, on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from trainer.config import Augment
from trainer.data.texts import PAD, UNKNOWN

PIXEL_RANGE = 255


@dataclass(frozen=True)
class Mixed:
    """The inputs of a batch, of which a share is of each row's own target and the rest of another row's."""

    inputs: tuple[Tensor, ...]
    other: Tensor | None = None  # (batch,), the other rows' targets; None where rows are not mixed
    share: Tensor | None = None  # ()


def augment(inputs: tuple[Tensor, ...], y: Tensor, knobs: Augment, noise: Generator) -> Mixed:
    """A batch as it is trained on; the inputs are those of a `Part`. With fgsm, its numbers ask for their gradient."""
    if inputs[0].ndim == 4:
        mixed = _images(inputs[0], y, knobs, noise)
    elif len(inputs) == 1:
        return Mixed((_drop_tokens(inputs[0], knobs.token_dropout, noise),))
    else:
        mixed = _tables(inputs, y, knobs, noise)
    if not knobs.fgsm:
        return mixed
    numbers, *rest = mixed.inputs
    return Mixed((numbers.float().requires_grad_(), *rest), mixed.other, mixed.share)


def uphill(rows: Mixed, loss: Tensor, epsilon: float) -> Mixed:
    """The rows with every number moved by epsilon to where the loss rises (Goodfellow et al. 2015, section 4); pixels
    by epsilon of their range, within it."""
    numbers, *rest = rows.inputs
    slope = torch.autograd.grad(loss, numbers, retain_graph=True)[0].sign()
    if numbers.ndim == 4:
        moved = (numbers.detach() + PIXEL_RANGE * epsilon * slope).clamp(0, PIXEL_RANGE)
    else:
        moved = numbers.detach() + epsilon * slope
    return Mixed((moved, *rest), rows.other, rows.share)


def _images(images: Tensor, y: Tensor, knobs: Augment, noise: Generator) -> Mixed:
    """(batch, channels, height, width) of raw pixels; what comes in from outside is 0, black."""
    if knobs.flip:
        images = torch.where(_coins(len(images), 0.5, noise)[:, None, None, None], images.flip(3), images)
    if knobs.rotation:
        images = _rotate(images, knobs.rotation, noise)
    if knobs.crop:
        images = _crop(images, knobs.crop, noise)
    if knobs.noise:
        images = images + PIXEL_RANGE * knobs.noise * _normal(images.shape, noise)
    if knobs.cutout:
        images = _cut_out(images, knobs.cutout * _happens(knobs.probability, noise), noise)
    if knobs.mixup:
        return _mixup((images,), y, _share(knobs.mixup, knobs.probability, noise), noise)
    if knobs.cutmix:
        return _cutmix(images, y, _share(knobs.cutmix, knobs.probability, noise), noise)
    return Mixed((images,))


def _tables(inputs: tuple[Tensor, ...], y: Tensor, knobs: Augment, noise: Generator) -> Mixed:
    """Numbers, in units of their normalization, and categories; of dropped features a 0, which is a missing one."""
    numbers, categories = inputs
    if knobs.noise:
        numbers = numbers + knobs.noise * _normal(numbers.shape, noise)
    if knobs.feature_dropout:
        numbers = numbers.masked_fill(_coins(numbers.shape, knobs.feature_dropout, noise), 0)
        categories = categories.masked_fill(_coins(categories.shape, knobs.feature_dropout, noise), 0)
    if knobs.cutout:
        cut = _some_columns((numbers, categories), knobs.cutout * _happens(knobs.probability, noise), noise)
        numbers, categories = (x.masked_fill(gone, 0) for x, gone in zip((numbers, categories), cut, strict=True))
    if knobs.mixup:
        return _mixup((numbers, categories), y, _share(knobs.mixup, knobs.probability, noise), noise)
    if knobs.cutmix:
        return _swap_columns((numbers, categories), y, _share(knobs.cutmix, knobs.probability, noise), noise)
    return Mixed((numbers, categories))


def _rotate(images: Tensor, degrees: float, noise: Generator) -> Tensor:
    angle = (2 * _uniform(len(images), noise) - 1) * math.radians(degrees)
    still = torch.zeros_like(angle)
    turn = torch.stack([angle.cos(), -angle.sin(), still, angle.sin(), angle.cos(), still], 1).view(-1, 2, 3)
    grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
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


def _cut_out(images: Tensor, share: Tensor, noise: Generator) -> Tensor:
    """A square of each image made black, its middle anywhere (DeVries and Taylor 2017)."""
    batch, _, height, width = images.shape
    side = share * min(height, width) / 2
    inside = _box(_uniform(batch, noise) * height, _uniform(batch, noise) * width, side, side, images)
    return images.masked_fill(inside[:, None], 0)


def _mixup(inputs: tuple[Tensor, ...], y: Tensor, share: Tensor, noise: Generator) -> Mixed:
    """Each row mixed with another, all by one share (Zhang et al. 2018). Of categories, which cannot be mixed, each is
    one row's or the other's."""
    other = _permutation(len(y), noise)
    numbers = share * inputs[0] + (1 - share) * inputs[0][other]
    rest = [torch.where(_uniform(x.shape, noise) < share, x, x[other]) for x in inputs[1:]]
    return Mixed((numbers, *rest), y[other], share)


def _cutmix(images: Tensor, y: Tensor, share: Tensor, noise: Generator) -> Mixed:
    """A box of each image taken from another one (Yun et al. 2019, appendix A)."""
    other = _permutation(len(y), noise)
    height, width = images.shape[2:]
    half = (1 - share).sqrt() / 2
    middle = _uniform(2, noise)
    inside = _box(middle[:1] * height, middle[1:] * width, half * height, half * width, images)[:, None]
    return Mixed((torch.where(inside, images[other], images),), y[other], 1 - inside.float().mean())


def _swap_columns(inputs: tuple[Tensor, ...], y: Tensor, share: Tensor, noise: Generator) -> Mixed:
    """Cutmix of tables (Kadra et al. 2021): in some columns each row has what another one has."""
    other = _permutation(len(y), noise)
    taken = _some_columns(inputs, 1 - share, noise)
    mixed = tuple(torch.where(gone, x[other], x) for x, gone in zip(inputs, taken, strict=True))
    return Mixed(mixed, y[other], 1 - torch.cat(taken).float().mean())


def _some_columns(inputs: tuple[Tensor, ...], share: Tensor, noise: Generator) -> tuple[Tensor, ...]:
    """This share of the columns, drawn for the whole batch; of each input, (columns,) bool."""
    widths = [x.shape[1] for x in inputs]
    places = _permutation(sum(widths), noise)  # (columns,)
    return torch.split(places < (share * sum(widths)).round(), widths)


def _box(row: Tensor, column: Tensor, tall: Tensor | float, wide: Tensor | float, images: Tensor) -> Tensor:
    """(boxes, height, width), bool: the pixels whose middles lie within half a height and half a width of a point."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + 0.5
    columns = torch.arange(width, device=images.device) + 0.5
    near = (rows - row[:, None]).abs() < tall  # (boxes, height)
    return near[:, :, None] & ((columns - column[:, None]).abs() < wide)[:, None, :]


def _drop_tokens(tokens: Tensor, rate: float, noise: Generator) -> Tensor:
    if not rate:
        return tokens
    return tokens.masked_fill(_coins(tokens.shape, rate, noise) & (tokens != PAD), UNKNOWN)


def _share(alpha: float, probability: float, noise: Generator) -> Tensor:
    """What is each row's own, from Beta(alpha, alpha); all of it, where the batch is left alone."""
    # PyTorch's Beta takes no generator, and what it draws from does.
    drawn: Tensor = torch._standard_gamma(torch.full((2,), alpha, device=noise.device), generator=noise)
    share = drawn[0] / drawn.sum().clamp(min=torch.finfo(torch.float32).tiny)
    return 1 - (1 - share) * _happens(probability, noise)


def _happens(probability: float, noise: Generator) -> Tensor:
    """1 or, for a batch that is left alone, 0. A tensor: asking it for its value would wait for a GPU."""
    return _uniform(torch.Size(), noise) < probability


def _permutation(rows: int, noise: Generator) -> Tensor:
    return torch.randperm(rows, generator=noise, device=noise.device)


def _uniform(shape: int | torch.Size, noise: Generator) -> Tensor:
    return torch.rand(shape, generator=noise, device=noise.device)


def _normal(shape: torch.Size, noise: Generator) -> Tensor:
    return torch.randn(shape, generator=noise, device=noise.device)


def _coins(shape: int | torch.Size, rate: float, noise: Generator) -> Tensor:
    return _uniform(shape, noise) < rate
