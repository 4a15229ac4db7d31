"""Each augmentation does what it is called, to the batch and to a training."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from trainer import preflight
from trainer.augment import Mixed, augment, uphill
from trainer.config import Augment, Data, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit

Y = torch.arange(64)
# Each image is of one colour, with a brighter left half
IMAGES = torch.arange(1, 65, dtype=torch.uint8)[:, None, None, None] * torch.ones(1, 2, 8, 8, dtype=torch.uint8)
IMAGES[:, :, :, :4] += 100
LOSS = Monitor("val/loss", "minimize")


def apply(inputs: tuple[Tensor, ...], seed: int = 0, **knobs: Any) -> Mixed:
    return augment(inputs, Y, Augment.model_validate(knobs), torch.Generator().manual_seed(seed))


def test_about_half_of_the_images_are_flipped_and_the_others_left_alone() -> None:
    [images] = apply((IMAGES,), flip=True).inputs

    same = (images == IMAGES).all((1, 2, 3))
    flipped = (images == IMAGES.flip(3)).all((1, 2, 3))
    assert bool((same ^ flipped).all())
    assert 20 <= int(flipped.sum()) <= 44


def test_a_crop_shifts_each_image_by_its_own_few_pixels_and_fills_with_black() -> None:
    [images] = apply((IMAGES,), crop=2).inputs

    shifts = {
        next(
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(torch.nn.functional.pad(image, (2,) * 4)[:, down : down + 8, right : right + 8], seen)
        )
        for image, seen in zip(IMAGES, images, strict=True)
    }
    assert len(shifts) > 10


def test_a_rotation_turns_images_by_no_more_than_told() -> None:
    [little], [far] = apply((IMAGES,), rotation=1e-4).inputs, apply((IMAGES,), rotation=180).inputs

    torch.testing.assert_close(little, IMAGES.float(), atol=0.1, rtol=0)
    assert (far - IMAGES.float()).abs().mean() > 10


def test_cutout_makes_a_square_black() -> None:
    [images] = apply((IMAGES,), cutout=0.5).inputs

    black = (images == 0).all(1).sum((1, 2))  # of 4 × 4 pixels, fewer where it reaches over the rim
    assert 4 <= int(black.min()) <= int(black.max()) == 16
    assert torch.equal(images[images > 0], IMAGES[images > 0])


def test_mixup_mixes_rows_and_targets_by_the_same_share() -> None:
    numbers, categories = Y.float()[:, None], Y[:, None]

    mixed = apply((numbers, categories), mixup=1.0)

    assert mixed.other is not None
    assert mixed.share is not None
    share = mixed.share.item()
    torch.testing.assert_close(mixed.inputs[0][:, 0], share * Y + (1 - share) * mixed.other)
    own = mixed.inputs[1][:, 0] == Y
    assert bool((own | (mixed.inputs[1][:, 0] == mixed.other)).all())
    assert own.float().mean().item() == pytest.approx(share, abs=0.25)


def test_cutmix_takes_a_box_whose_size_is_the_share() -> None:
    mixed = apply((IMAGES,), seed=3, cutmix=1.0)

    assert mixed.other is not None
    assert mixed.share is not None
    taken = mixed.inputs[0] == IMAGES[mixed.other]
    moved = mixed.other != Y
    assert taken[moved].float().mean().item() == pytest.approx(1 - mixed.share.item())
    assert 0 < mixed.share.item() < 1


def test_noise_and_feature_dropout_touch_tables() -> None:
    numbers, categories = torch.ones(64, 50), torch.ones(64, 50, dtype=torch.int64)

    noisy = apply((numbers, categories), noise=0.5).inputs
    dropped = apply((numbers, categories), feature_dropout=0.25).inputs

    assert noisy[0].std().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(noisy[1], categories)
    for column in dropped:
        assert (column == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_cutout_of_a_table_leaves_its_share_of_the_columns_out_of_the_whole_batch() -> None:
    numbers, categories = apply((torch.ones(64, 6), torch.ones(64, 4, dtype=torch.int64)), cutout=0.3).inputs

    gone = torch.cat([numbers == 0, categories == 0], 1)
    assert gone.sum(1).tolist() == [3] * 64  # 0.3 of ten
    assert torch.equal(gone, gone[:1].expand(64, -1))


def test_cutmix_of_a_table_takes_columns_and_their_share_of_the_target_from_another_row() -> None:
    numbers, categories = Y.float()[:, None].expand(64, 6), Y[:, None].expand(64, 4)

    mixed = apply((numbers, categories), cutmix=1.0)

    assert mixed.other is not None
    assert mixed.share is not None
    taken = torch.cat([mixed.inputs[0] == mixed.other[:, None], mixed.inputs[1] == mixed.other[:, None]], 1)
    moved = mixed.other != Y
    assert torch.equal(taken[moved], taken[moved][:1].expand(int(moved.sum()), -1))
    assert 0 < taken[moved].float().mean().item() == pytest.approx(1 - mixed.share.item())


@pytest.mark.parametrize("knob", ["mixup", "cutmix", "cutout"])
@pytest.mark.parametrize("inputs", [(torch.randn(64, 6), torch.ones(64, 9, dtype=torch.int64)), (IMAGES.float(),)])
def test_so_many_batches_are_changed_as_the_probability_says(knob: str, inputs: tuple[Tensor, ...]) -> None:
    changed = [
        not torch.equal(apply(inputs, seed, probability=0.25, **{knob: 0.9}).inputs[0], inputs[0])
        for seed in range(200)
    ]

    assert 0.15 < sum(changed) / 200 < 0.33


def test_noise_on_images_is_a_share_of_the_way_from_black_to_white() -> None:
    [images] = apply((IMAGES,), noise=0.1).inputs

    assert (images - IMAGES).std().item() == pytest.approx(25.5, rel=0.05)


def test_adversarial_rows_lie_where_the_loss_rises() -> None:
    rows = apply((torch.ones(64, 2), torch.ones(64, 1, dtype=torch.int64)), fgsm=0.1)
    loss = (rows.inputs[0] * torch.tensor([3.0, -1e-3])).sum()

    moved = uphill(rows, loss, 0.1)

    torch.testing.assert_close(moved.inputs[0], torch.tensor([[1.1, 0.9]]).expand(64, -1))
    pixels = apply((IMAGES,), fgsm=0.1)
    brighter = uphill(pixels, pixels.inputs[0].sum(), 0.1).inputs[0]
    torch.testing.assert_close(brighter, (IMAGES.float() + 25.5).clamp(max=255))
    light = apply((torch.full_like(IMAGES, 250),), fgsm=0.1)
    assert uphill(light, light.inputs[0].sum(), 0.1).inputs[0].unique().tolist() == [255]  # nothing is whiter
    dark = apply((torch.full_like(IMAGES, 5),), fgsm=0.1)
    assert uphill(dark, -dark.inputs[0].sum(), 0.1).inputs[0].unique().tolist() == [0]


def test_scaling_makes_images_larger_or_smaller_and_translation_shifts_them() -> None:
    dot = torch.zeros(64, 1, 33, 33)
    dot[:, :, 12:21, 12:21] = 100  # 81 pixels in the middle

    [scaled], [shifted] = apply((dot,), scaling=0.5).inputs, apply((dot,), translation=0.2).inputs

    area = (scaled > 50).sum((1, 2, 3)) / 81
    assert 0.2 < area.min() < 0.5 < 1.5 < area.max() <= 1.5**2 * 1.15  # sides by half to one and a half
    assert (shifted > 50).sum((1, 2, 3)).float().mean().item() == pytest.approx(81, rel=0.05)
    rows = (shifted[:, 0] > 50).float().argmax(1).amax(1)
    assert 12 + 4 <= rows.max() <= 12 + 7 + 9  # up to a fifth of 33 pixels
    assert len(rows.unique()) > 5


def test_colour_changes_brightness_and_contrast_of_each_image() -> None:
    [images] = apply((IMAGES,), colour=0.5).inputs

    ratio = images.mean((1, 2, 3)) / IMAGES.float().mean((1, 2, 3))
    assert 0.5 <= ratio.min() < 0.7 < 1.3 < ratio.max() <= 1.5
    spread = images.std((1, 2, 3)) / IMAGES.float().std((1, 2, 3))
    assert (spread / ratio).std() > 0.1
    assert torch.equal(apply((IMAGES,), colour=0.0).inputs[0], IMAGES)


def test_an_erased_image_has_a_rectangle_of_noise() -> None:
    images = torch.zeros(400, 1, 20, 20)

    [erased] = augment((images,), torch.arange(400), Augment(erase=0.5), torch.Generator().manual_seed(0)).inputs

    share = (erased > 0).float().mean((1, 2, 3))
    assert (share > 0).float().mean().item() == pytest.approx(0.5, abs=0.07)
    assert 0 < share[share > 0].min() < 0.06 < 0.25 < share.max() < 0.4  # 0.02 to 0.33, and the grid's rounding


def test_randaugment_is_as_strong_as_told() -> None:
    images = torch.arange(64 * 3 * 16 * 16).view(64, 3, 16, 16).float() % 256

    def change(magnitude: int) -> float:
        [changed] = apply((images,), randaugment=magnitude).inputs
        assert 0 <= changed.min() <= changed.max() <= 255
        return (changed - images).abs().mean().item()

    assert 0 < change(1) < change(10) < change(30)


def test_swapped_values_are_of_the_same_column_and_swapped_tokens_of_the_same_text() -> None:
    numbers, tokens = torch.arange(64.0 * 40).view(64, 40), torch.arange(2, 42, dtype=torch.int32).repeat(64, 1)
    tokens[:, 30:] = 0

    swapped = apply((numbers, torch.empty(64, 0, dtype=torch.int64)), swap=0.3).inputs[0]
    [moved] = apply((tokens,), swap=0.3).inputs

    assert (swapped != numbers).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(swapped % 40, numbers % 40)
    assert torch.equal(moved.sort(1).values, tokens.sort(1).values)
    assert torch.equal(moved[:, 30:], tokens[:, 30:])
    assert (moved - tokens).abs().max() == 1
    assert (moved != tokens)[:, :30].float().mean().item() == pytest.approx(0.26, abs=0.04)


def test_dropped_spans_are_of_three_tokens_or_more() -> None:
    tokens = torch.full((64, 60), 5, dtype=torch.int32)

    [dropped] = apply((tokens,), span_dropout=0.2).inputs

    assert (dropped == 1).float().mean().item() == pytest.approx(0.2, abs=0.04)
    inner = (dropped[:, 2:-2] == 1).int()
    lonely = inner[:, 1:-1] & ~(inner[:, :-2] | inner[:, 2:])
    assert not lonely[:, 1:-1].bool().any()


def test_dropped_tokens_are_unknown_and_padding_stays() -> None:
    tokens = torch.tensor([[5] * 50 + [0] * 50] * 64, dtype=torch.int32)

    [dropped] = apply((tokens,), token_dropout=0.3).inputs

    assert (dropped[:, :50] == 1).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(dropped[:, 50:], tokens[:, 50:])


@pytest.fixture(scope="module")
def digits() -> Prepared:
    prepared = prepare(Data(source="sklearn:digits"), device=CPU, data_folders=(), as_images=True)
    few = dataclasses.replace(
        prepared.train, inputs=tuple(tensor[:128] for tensor in prepared.train.inputs), y=prepared.train.y[:128]
    )
    return dataclasses.replace(prepared, train=few)


def curve(prepared: Prepared, source: str, model: dict[str, Any], augment: dict[str, Any], **more: Any) -> Any:
    config = TrainConfig.model_validate(
        {"data": {"source": source, "augment": augment}, "model": model, "epochs": 2, "batch_size": 32,
         "checkpoint": {"every_seconds": 0}}
    )  # fmt: skip
    reporter = more.pop("reporter", None) or Recorder()
    fit(config, prepared, monitor=LOSS, reporter=reporter, folder=more.pop("folder", MemoryFolder()), **more)
    return reporter.reports


@pytest.mark.parametrize(
    "knobs",
    [
        {"flip": True},
        {"crop": 1},
        {"rotation": 20.0},
        {"randaugment": 9},
        {"erase": 0.5},
        {"cutout": 0.5},
        {"cutmix": 1.0},
        {"mixup": 0.5},
    ],
    ids=lambda knobs: next(iter(knobs)),
)
def test_augmented_images_change_the_training_and_it_goes_on_bit_for_bit(digits: Prepared, knobs: Any) -> None:
    model, killed = {"name": "cnn", "width": 4, "depth": 1}, MemoryFolder()
    augmented = curve(digits, "sklearn:digits", model, knobs)
    with pytest.raises(Killed):
        curve(digits, "sklearn:digits", model, knobs, reporter=Recorder(killed_at=1), folder=killed)

    assert augmented[1] != curve(digits, "sklearn:digits", model, {})[1]
    assert curve(digits, "sklearn:digits", model, knobs, resume_from=[killed]) == {2: augmented[2]}


@pytest.mark.parametrize("knobs", [{"noise": 0.5}, {"feature_dropout": 0.3}, {"mixup": 0.5}])
def test_augmented_tables_change_the_training(iris: Prepared, knobs: Any) -> None:
    model = {"hidden": [8]}

    assert curve(iris, "sklearn:iris", model, knobs) != curve(iris, "sklearn:iris", model, {})


@pytest.mark.parametrize(
    ("model", "knobs", "message"),
    [
        ("mlp", {"flip": True}, "trial.data.augment.flip: the source is no image; known for tables: cutmix, cu"),
        ("cnn", {"feature_dropout": 0.1}, "trial.data.augment.feature_dropout: the source is no table; known for im"),
        ("cnn", {"crop": 8}, "trial.data.augment.crop: a shift of 8 pixels can leave nothing of 8 × 8; at most 7"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_to_such_rows_is_refused_before_any_trial(model: str, knobs: Any, message: str) -> None:
    config = TrainConfig.model_validate(
        {"data": {"source": "sklearn:digits", "augment": knobs}, "model": {"name": model}}
    )

    problems, _ = preflight.check([config], wanted={"objective.metric": LOSS.metric}, data_folders=(), device=CPU)

    [problem] = problems
    assert str(problem).startswith(message)


def test_a_batch_is_mixed_in_one_way_only() -> None:
    with pytest.raises(ValidationError, match="set one of them to 0"):
        Augment(mixup=1.0, cutmix=1.0)
