"""Images, from their files to the exported model."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import accuracy_score
from torch.nn import functional

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from trainer import preflight
from trainer.config import Data, Model, TrainConfig
from trainer.data.image_sources import IMAGE_ENDINGS, read_folder, read_idx
from trainer.data.images import fit_images
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.data.schema import Target
from trainer.errors import DataError
from trainer.fit import Monitor, fit
from trainer.model_file import load
from trainer.models.build import build
from trainer.rows import read_rows
from trialyard.predict import IMAGES

ACCURACY = Monitor("val/accuracy", "maximize")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40, dtype=np.uint8) % 2
HALVES = {"validation": 0.25, "test": 0.25}


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def digits() -> Prepared:
    return prepare(Data(source="sklearn:digits"), device=CPU, data_folders=(), as_images=True)


def as_idx(folder: Path) -> str:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return "file:train-images-idx3-ubyte.gz"


def as_arrays(folder: Path) -> str:
    np.savez(folder / "images.npz", X=PIXELS, y=LABELS)
    return "file:images.npz"


def as_folders(folder: Path) -> str:
    for number, (image, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        (folder / "photos" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "photos" / str(label) / f"{number:02}.png")
    return "file:photos"


@pytest.mark.parametrize("write", [as_idx, as_arrays, as_folders])
def test_every_kind_of_file_holds_the_same_images(tmp_path: Path, write: Callable[[Path], str]) -> None:
    data = Data.model_validate({"source": write(tmp_path), "split": HALVES})

    prepared = prepare(data, device=CPU, data_folders=[tmp_path])

    parts = (prepared.train, prepared.validation, prepared.test)
    seen = {(bytes(pixels.numpy()), int(label)) for part in parts for pixels, label in zip(*part.inputs, part.y)}  # type: ignore[union-attr]  # noqa: B905
    assert seen == {(image.tobytes(), int(label)) for image, label in zip(PIXELS, LABELS, strict=True)}
    assert prepared.train.inputs[0].dtype == torch.uint8
    assert prepared.train.inputs[0].shape == (20, 1, 6, 5)


def test_images_are_brought_to_a_scale_by_their_channels() -> None:
    pixels = np.stack([PIXELS // 2, PIXELS // 2 + 100], axis=1)  # (rows, channels, height, width)

    def scaled(normalize: str) -> NDArray[np.float64]:
        schema = fit_images(
            pixels, Data(source="sklearn:digits", normalize=normalize), Target(name="y", task="regression")
        )
        return np.stack([(pixels[:, c] - schema.shift[c]) / schema.scale[c] for c in range(2)])

    for name in ("standard", "per_channel"):
        assert scaled(name).mean((1, 2, 3)) == pytest.approx([0, 0], abs=1e-9)
        assert scaled(name).std((1, 2, 3)) == pytest.approx([1, 1])
    quartiles = np.percentile(scaled("robust"), [25, 50, 75], axis=(1, 2, 3), method="inverted_cdf")
    assert quartiles[1] == pytest.approx([0, 0])
    assert quartiles[2] - quartiles[0] == pytest.approx([1, 1])
    with pytest.raises(DataError, match="quantile takes columns of a table"):
        scaled("quantile")


def test_the_arrays_of_a_file_may_bring_their_own_test_part(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X_train=PIXELS, y_train=LABELS, X_test=PIXELS[:4], y_test=LABELS[:4])

    prepared = prepare(Data(source="file:a.npz"), device=CPU, data_folders=[tmp_path])

    assert (prepared.train.rows, prepared.validation.rows) == (32, 8)
    assert prepared.test is not None
    assert prepared.test.inputs[0].numpy().tobytes() == PIXELS[:4].tobytes()


LOW = RNG.integers(0, 256, (40, 4, 9, 3), dtype=np.uint8)  # 4 pixels high, in colours; or four channels of 9 by 3


def test_channels_that_may_be_first_or_last_have_to_be_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=LOW, y=LABELS)

    with pytest.raises(DataError) as refused:
        prepare(Data(source="file:a.npz"), device=CPU, data_folders=[tmp_path])

    said = "images of shape (4, 9, 3) have 4 channels first or 3 last; say which, as in channels: last"
    assert str(refused.value) == f"trial.data.channels: {said}"


@pytest.mark.parametrize(("told", "shape"), [("last", (3, 4, 9)), ("first", (4, 9, 3))])
def test_channels_are_where_the_study_says(tmp_path: Path, told: Any, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", X_train=LOW, y_train=LABELS, X_test=LOW[:8], y_test=LABELS[:8])

    prepared = prepare(Data(source="file:a.npz", channels=told), device=CPU, data_folders=[tmp_path])

    assert prepared.test is not None
    expected = LOW[:8].transpose(0, 3, 1, 2) if told == "last" else LOW[:8]
    assert np.array_equal(prepared.test.inputs[0], expected)
    assert prepared.train.inputs[0].shape[1:] == shape
    # Rows to predict for may come as they stand in the file.
    assert np.array_equal(prepared.schema.encode(LOW[:8])[0], expected)  # type: ignore[arg-type, union-attr]


def test_channels_that_are_not_where_the_study_says_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=LOW[:, :, :, :2], y=LABELS)

    with pytest.raises(DataError, match=r"an array of shape \(40, 4, 9, 2\) has no 1, 3 or 4 channels last"):
        prepare(Data(source="file:a.npz", channels="last"), device=CPU, data_folders=[tmp_path])


def test_low_pictures_of_a_folder_are_in_colours(tmp_path: Path) -> None:
    for number, (image, label) in enumerate(zip(LOW, LABELS, strict=True)):
        (tmp_path / "photos" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / str(label) / f"{number:02}.png")

    prepared = prepare(Data(source="file:photos"), device=CPU, data_folders=[tmp_path])

    assert prepared.train.inputs[0].shape[1:] == (3, 4, 9)


def test_a_flat_array_is_a_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=PIXELS[:, 0].astype(float), y=LABELS)

    prepared = prepare(Data(source="file:a.npz"), device=CPU, data_folders=[tmp_path])

    assert prepared.columns == ["x0", "x1", "x2", "x3", "x4"]


def test_images_of_a_folder_can_be_brought_to_one_size_and_keep_their_colours(tmp_path: Path) -> None:
    for number, size in enumerate([(4, 4), (9, 3), (5, 7), (6, 6)] * 3):
        (tmp_path / "p" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "p" / "ab"[number % 2] / f"{number}.jpg", quality=100)

    with pytest.raises(DataError, match=r"10\.jpg has 5 × 7, and a/0\.jpg 4 × 4 pixels; set image_size"):
        prepare(Data(source="file:p"), device=CPU, data_folders=[tmp_path])
    prepared = prepare(Data(source="file:p", image_size=8), device=CPU, data_folders=[tmp_path])

    assert prepared.classes == ("a", "b")
    assert prepared.train.inputs[0].shape[1:] == (3, 8, 8)
    assert prepared.train.inputs[0][0, :, 0, 0].tolist() == pytest.approx([10, 20, 30], abs=3)


def test_black_and_white_images_are_made_smaller_in_the_training_as_in_an_answer(tmp_path: Path) -> None:
    """Pillow itself makes images of one bit smaller by leaving pixels out, and others by their means."""
    for number in range(20):
        (tmp_path / "p" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.random((16, 16)) < 0.5).save(tmp_path / "p" / "ab"[number % 2] / f"{number:02}.png")
    file = tmp_path / "p" / "a" / "00.png"

    trained = read_folder(tmp_path / "p", "trial.data.source", [tmp_path], side=4).pixels
    schema = fit_images(trained, Data(source="file:p"), Target(name="label", task="classification", classes=("a", "b")))
    asked, _ = read_rows(schema, [base64.b64encode(file.read_bytes()).decode()])

    assert np.array_equal(trained[0], asked[0])
    assert len(np.unique(trained)) > 2


def test_what_is_hidden_in_a_folder_is_no_class_and_no_image(tmp_path: Path) -> None:
    for name in ("a", "b", ".ipynb_checkpoints"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (4, 4)).save(tmp_path / "p" / name / f"{number}.png")
    (tmp_path / "p" / "a" / "._1.png").write_bytes(b"what macOS keeps beside a file")

    prepared = prepare(Data(source="file:p"), device=CPU, data_folders=[tmp_path])

    assert (prepared.classes, prepared.train.rows + prepared.validation.rows) == (("a", "b"), 16)


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_images_are_read_from_files_of_many_kinds(tmp_path: Path, ending: str) -> None:
    for number in range(10):
        (tmp_path / "p" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (0, 255, 0)).save(tmp_path / "p" / "ab"[number % 2] / f"{number}{ending}")

    prepared = prepare(Data(source="file:p"), device=CPU, data_folders=[tmp_path])

    assert prepared.train.rows + prepared.validation.rows == 8
    assert prepared.train.inputs[0][0, :, 0, 0].tolist() == pytest.approx([0, 255, 0], abs=3)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".tiff"])
def test_a_picture_that_moves_is_refused_instead_of_being_read_as_its_first(tmp_path: Path, ending: str) -> None:
    (tmp_path / "p" / "a").mkdir(parents=True)
    first, second = Image.new("RGB", (4, 4), (0, 0, 0)), Image.new("RGB", (4, 4), (255, 0, 0))
    first.save(tmp_path / "p" / "a" / f"1{ending}", save_all=True, append_images=[second])

    with pytest.raises(DataError, match=r"1\.\w+ moves or has several pages; save it as one picture"):
        prepare(Data(source="file:p"), device=CPU, data_folders=[tmp_path])


def test_images_that_cannot_be_read_are_named_and_other_files_passed_over(tmp_path: Path) -> None:
    (tmp_path / "p" / "a").mkdir(parents=True)
    for number in range(10):
        Image.new("L", (4, 4)).save(tmp_path / "p" / "a" / f"{number}.png")
    (tmp_path / "p" / "a" / "Thumbs.db").write_bytes(b"what Windows keeps beside pictures")
    assert len(read_folder(tmp_path / "p", "trial.data.source", [tmp_path], None).pixels) == 10

    for name in ("x.HEIC", "y.avif"):
        (tmp_path / "p" / "a" / name).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"2 images, a/x\.HEIC first, are of a kind that is not read; save them as \.png"
    ):
        read_folder(tmp_path / "p", "trial.data.source", [tmp_path], None)


def test_the_command_sends_images_of_the_kinds_that_are_trained_on() -> None:
    assert IMAGES == IMAGE_ENDINGS


def test_an_image_of_16_bits_is_refused_instead_of_being_cut_off_at_255(tmp_path: Path) -> None:
    (tmp_path / "p" / "a").mkdir(parents=True)
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "p" / "a" / "1.png")

    with pytest.raises(DataError, match=r"1\.png has more than 8 bits a pixel; save it with 8"):
        prepare(Data(source="file:p"), device=CPU, data_folders=[tmp_path])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a-images-idx3-ubyte", idx(PIXELS)[:-1], "promises 40 × 6 × 5 values, and it holds 1199"),
        ("a-images-idx3-ubyte", idx(PIXELS) + b"0", "promises 40 × 6 × 5 values, and it holds more"),
        ("a-images-idx3-ubyte", b"PNG", "not that of an IDX file"),
        ("a-images-idx3-ubyte", idx(PIXELS[:3]), "3 images have labels of shape"),
        ("a.npz", b"PK\3\4", r"cannot be read as \.npz"),
    ],
)
def test_broken_files_are_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(LABELS))

    with pytest.raises(DataError, match=message):
        prepare(Data(source=f"file:{name}"), device=CPU, data_folders=[tmp_path])


def test_of_an_idx_file_no_more_is_unpacked_than_its_header_promises() -> None:
    stream = io.BytesIO(idx(PIXELS) + bytes(10**6))

    with pytest.raises(ValueError, match="it holds more"):
        read_idx(stream)

    assert stream.tell() == len(idx(PIXELS)) + 1


def test_an_array_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    said, petabytes = io.BytesIO(), (10**6, 10**6, 10**4)
    np.lib.format.write_array_header_1_0(said, {"descr": "|u1", "fortran_order": False, "shape": petabytes})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for name in ("X.npy", "y.npy"):
            file.writestr(name, said.getvalue())

    with pytest.raises(
        DataError, match=r"a\.npz cannot be read as \.npz: Unable to allocate.*save fewer rows or columns"
    ):
        prepare(Data(source="file:a.npz"), device=CPU, data_folders=[tmp_path])


def test_pixels_that_are_no_bytes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=PIXELS / 255, y=LABELS)

    with pytest.raises(DataError, match="not whole numbers from 0 to 255; store them as uint8"):
        prepare(Data(source="file:a.npz"), device=CPU, data_folders=[tmp_path])


def test_an_image_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "p" / "a").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "data" / "p" / "a" / "1.png").symlink_to(tmp_path / "secret.png")

    with pytest.raises(DataError, match="lies outside the folders"):
        prepare(Data(source="file:p"), device=CPU, data_folders=[tmp_path / "data"])


@pytest.mark.parametrize("normalize", ["standard", "minmax", "none"])
def test_channels_are_normalized_by_the_training_part_alone(tmp_path: Path, normalize: Any) -> None:
    colours = RNG.integers(0, [50, 100, 200], (40, 6, 5, 3)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", X=colours, y=LABELS)
    prepared = prepare(Data(source="file:a.npz", normalize=normalize), device=CPU, data_folders=[tmp_path])

    seen: Any = build(TrainConfig(data=Data(source="file:x")).model, prepared.schema)
    floats, raw = seen.pixels(prepared.train.inputs[0]), prepared.train.inputs[0].float()

    axes = (0, 2, 3)
    if normalize == "standard":
        torch.testing.assert_close(floats.mean(axes), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(floats.std(axes, correction=0), torch.ones(3))
    elif normalize == "minmax":
        assert (floats.amin(axes).tolist(), floats.amax(axes).tolist()) == ([0] * 3, [1] * 3)
    else:
        assert torch.equal(floats, raw)


def configure(name: str, **sections: Any) -> TrainConfig:
    model = {"name": name, "width": 8, "norm": "batch", **({"depth": 2} if name == "cnn" else {"depth": 1})}
    document = {"data": {"source": "sklearn:digits"}, "model": model, "epochs": 3, "checkpoint": {"every_seconds": 0}}
    return TrainConfig.model_validate(document | {"optimizer": {"lr": 0.01}, "batch_size": 64} | sections)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "leaky_relu"])
def test_a_stage_is_convolution_norm_activation_and_pooling(digits: Prepared, activation: Any) -> None:
    config = Model(name="cnn", depth=1, width=3, norm="layer", activation=activation)
    model = build(config, digits.schema).eval()
    pixels, conv, norm = model.stages[:3]
    rows = digits.train.inputs[0][:20]

    stage = getattr(functional, activation)(norm(conv(pixels(rows))))  # each image's numbers, of either sign

    expected = model.head(functional.max_pool2d(stage, 2).flatten(1))
    assert torch.allclose(model(rows), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn", "resnet", "mlp"])
def test_a_model_of_images_learns_goes_on_bit_for_bit_and_predicts(digits: Prepared, name: str) -> None:
    config, whole, killed, resumed = configure(name), MemoryFolder(), MemoryFolder(), MemoryFolder()
    fitted = fit(config, digits, monitor=ACCURACY, reporter=Recorder(), folder=whole)
    with pytest.raises(Killed):
        fit(config, digits, monitor=ACCURACY, reporter=Recorder(killed_at=2), folder=killed)
    fit(config, digits, monitor=ACCURACY, reporter=Recorder(), folder=resumed, resume_from=[killed])

    assert fitted.metrics["test/accuracy"] > 0.9
    assert resumed == whole
    assert digits.test is not None
    images, classes = digits.test.inputs[0][:, 0].numpy(), np.array(digits.classes)
    predicted = load(whole).predict(images)
    assert fitted.metrics["test/accuracy"] == accuracy_score(classes[digits.test.y.numpy()], predicted)


@pytest.mark.parametrize(
    ("model", "path", "message"),
    [
        ({"name": "cnn", "depth": 4}, "trial.model.depth", "4 stages halve an image of 8 × 8 to nothing; at most 3"),
        ({"name": "cnn"}, None, None),
        ({"name": "resnet", "depth": 9, "width": 4096}, None, None),  # built without its memory
    ],
)
def test_a_model_that_cannot_fit_is_refused_before_any_trial(model: Any, path: str | None, message: str | None) -> None:
    config = TrainConfig.model_validate({"data": {"source": "sklearn:digits"}, "model": model})

    problems, facts = preflight.check(
        [config], wanted={"objective.metric": "val/accuracy"}, data_folders=(), device=CPU
    )

    assert [problem.path for problem in problems] == ([path] if path else [])
    assert facts["image"] == {"channels": 1, "height": 8, "width": 8}
    if message:
        assert str(problems[0]).endswith(message)
