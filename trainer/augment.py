"""Changes to the rows of a batch that leave what they mean alone; drawn anew for each batch, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from trainer.config import Augment
from trainer.data.texts import PAD, UNKNOWN
from trainer.distort import PIXEL_RANGE, box, distort

SPAN = 3  # tokens that span_dropout leaves out together


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
        return Mixed((_texts(inputs[0], knobs, noise),))
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
    images = distort(images, knobs, noise)
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
    if knobs.swap:
        numbers, categories = (_swap_values(x, knobs.swap, noise) for x in (numbers, categories))
    if knobs.cutout:
        cut = _some_columns((numbers, categories), knobs.cutout * _happens(knobs.probability, noise), noise)
        numbers, categories = (x.masked_fill(gone, 0) for x, gone in zip((numbers, categories), cut, strict=True))
    if knobs.mixup:
        return _mixup((numbers, categories), y, _share(knobs.mixup, knobs.probability, noise), noise)
    if knobs.cutmix:
        return _swap_columns((numbers, categories), y, _share(knobs.cutmix, knobs.probability, noise), noise)
    return Mixed((numbers, categories))


def _cut_out(images: Tensor, share: Tensor, noise: Generator) -> Tensor:
    """A square of each image made black, its middle anywhere (DeVries and Taylor 2017)."""
    batch, _, height, width = images.shape
    side = share * min(height, width) / 2
    inside = box(_uniform(batch, noise) * height, _uniform(batch, noise) * width, side, side, images)
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
    inside = box(middle[:1] * height, middle[1:] * width, half * height, half * width, images)[:, None]
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


def _swap_values(values: Tensor, rate: float, noise: Generator) -> Tensor:
    """This share of the values taken from the same column of another row (Yoon et al. 2020, section 4.1)."""
    other = values[_permutation(len(values), noise)]
    return torch.where(_coins(values.shape, rate, noise), other, values)


def _texts(tokens: Tensor, knobs: Augment, noise: Generator) -> Tensor:
    """(batch, length); dropped tokens are unknown ones, and where a text ends nothing changes."""
    if knobs.swap:
        tokens = _swap_neighbours(tokens, knobs.swap, noise)
    if knobs.token_dropout:
        tokens = tokens.masked_fill(_coins(tokens.shape, knobs.token_dropout, noise) & (tokens != PAD), UNKNOWN)
    if knobs.span_dropout:
        begun = _coins(tokens.shape, knobs.span_dropout / SPAN, noise).float()
        within = functional.max_pool1d(functional.pad(begun, (SPAN - 1, 0)), SPAN, 1) > 0
        tokens = tokens.masked_fill(within & (tokens != PAD), UNKNOWN)
    return tokens


def _swap_neighbours(tokens: Tensor, rate: float, noise: Generator) -> Tensor:
    """This share of the tokens changes places with the one before or after (Wei and Zou 2019, of neighbours only)."""
    first = _coins(tokens.shape, rate / 2, noise)
    first[:, 1:] &= ~first[:, :-1]  # none in two pairs: of a run of them the first, and what it leaves
    first[:, :-1] &= tokens[:, 1:] != PAD
    first[:, -1] = False
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    second = functional.pad(first[:, :-1], (1, 0))
    return tokens.gather(1, places + first.long() - second.long())


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
