"""Rows as people send them: what does not fit is named by row and column, what a model can live with is told."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trainer.data.images import ImageSchema
from trainer.data.numeric import Numeric
from trainer.data.schema import Categorical, Schema, Target
from trainer.data.texts import TextSchema
from trainer.rows import WrongRows, in_common, read_rows

TARGET = Target(name="rich", task="classification", classes=("no", "yes"))
PEOPLE = Schema(
    numeric=(Numeric(name="age", fill=40.0, shift=0.0, scale=1.0),),
    categorical=(
        Categorical(name="job", categories=("clerk", "cook")),
        Categorical(name="member", categories=("False", "True")),
    ),
    excluded=(),
    target=TARGET,
    missing_values=("?",),
)
ANNA = {"age": 31, "job": "cook", "member": True}


def encoded(*rows: dict[str, Any]) -> tuple[list[float], list[list[int]]]:
    table, _ = read_rows(PEOPLE, rows)
    numbers, categories = PEOPLE.encode(table)
    return numbers[:, 0].tolist(), categories.tolist()


def test_numbers_and_truth_values_may_be_written_as_text_as_files_have_them() -> None:
    as_text = {"age": " 31 ", "job": "cook", "member": "true"}

    assert encoded(as_text) == encoded(ANNA) == ([31.0], [[2, 2]])


@pytest.mark.parametrize("gap", [None, "", "?", "NA"])
def test_a_gap_is_filled_as_in_the_training_and_told(gap: object) -> None:
    table, notes = read_rows(PEOPLE, [ANNA | {"age": gap}, ANNA])

    assert PEOPLE.encode(table)[0][:, 0].tolist() == [40.0, 31.0]
    assert notes == ["age: 1 row has no value; it was taken as 40, as in training"]


def test_a_category_never_seen_is_taken_as_missing_and_told() -> None:
    table, notes = read_rows(PEOPLE, [ANNA | {"job": "pilot"}, ANNA | {"job": None}, ANNA | {"shoe": 43}])

    assert PEOPLE.encode(table)[1][:, 0].tolist() == [0, 0, 2]
    assert notes == ["not used: shoe", "job: 1 row has a value never seen in training ('pilot'); taken as missing"]


@pytest.mark.parametrize(
    ("rows", "path", "message"),
    [
        ([ANNA, {"age": 3, "member": True}], "rows[1].job", "the column job is missing"),
        ([{"job": "cook"}] * 3, "rows[0].age", "the column age is missing, as in 2 further rows"),
        ([ANNA, ANNA | {"age": "old"}], "rows[1].age", "'old' is no number"),
        ([ANNA | {"age": True}], "rows[0].age", "'True' is no number"),
        ([ANNA | {"age": "inf"}], "rows[0].age", "'inf' is no number"),
        ([ANNA, [31, "cook", True]], "rows[1]", "is no mapping of columns to values"),
        ([], "rows", "there are none"),
    ],
)
def test_what_does_not_fit_is_named(rows: list[Any], path: str, message: str) -> None:
    with pytest.raises(WrongRows) as refused:
        read_rows(PEOPLE, rows)

    assert (refused.value.problems[0].path, refused.value.problems[0].message) == (path, message)


def test_a_number_may_be_written_as_the_training_wrote_it() -> None:
    rows = [ANNA | {"age": age} for age in ("31,5", " -2", "1e3", "31.5", 31.5)]

    table, _ = read_rows(PEOPLE.model_copy(update={"decimal": ","}), rows)

    assert table["age"].tolist() == [31.5, -2, 1000, 31.5, 31.5]
    with pytest.raises(WrongRows, match="'31,5' is no number"):
        read_rows(PEOPLE, rows)


def test_a_text_may_come_alone_or_in_its_column() -> None:
    schema = TextSchema(column="sms", vocabulary=("hi",), lower_case=True, subwords=False, max_tokens=4, target=TARGET)

    table, _ = read_rows(schema, ["hi you", {"sms": "hi you"}])

    assert schema.encode(table)[0].tolist() == [[2, 1], [2, 1]]  # the first known token, and an unknown one


IMAGE = ImageSchema(channels=1, height=2, width=3, shift=(0.0,), scale=(1.0,), target=TARGET)
PIXELS = [[0, 1, 2], [3, 4, 255]]


def png(pixels: NDArray[Any]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def moving() -> str:
    file = io.BytesIO()
    Image.new("L", (3, 2), 0).save(file, "GIF", save_all=True, append_images=[Image.new("L", (3, 2), 255)])
    return base64.b64encode(file.getvalue()).decode()


def test_an_image_is_pixels_or_a_file() -> None:
    pixels, _ = read_rows(IMAGE, [PIXELS, png(np.array(PIXELS, np.uint8))])

    assert pixels.tolist() == [[PIXELS], [PIXELS]]


def test_a_file_has_its_channels_last_though_it_is_as_wide_as_there_are_channels() -> None:
    cube = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    schema = ImageSchema(channels=3, height=3, width=3, shift=(0.0,) * 3, scale=(1.0,) * 3, target=TARGET)

    pixels, _ = read_rows(schema, [cube.tolist(), png(cube)])

    assert pixels.tolist() == [cube.tolist(), cube.transpose(2, 0, 1).tolist()]


def broken() -> str:
    """A PNG file whose pixels end behind their first byte, by what it says."""
    file = base64.b64decode(png(np.zeros((2, 3), np.uint8)))
    at = file.index(b"IDAT")
    return base64.b64encode(file[: at - 4] + (1).to_bytes(4, "big") + file[at:]).decode()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([[0, 1], [2, 3]], "an array of shape (1, 2, 2) is no such image"),
        ([[0, 1, 2], [3, 4, 256]], "holds values that are no whole numbers from 0 to 255"),
        ([[0, 1, 2], [3, 4]], "is no array of numbers, nor an image file in base64"),
        ("bm8=", "is no image file in base64"),
        (broken(), "is no image file in base64"),
        (png(np.full((2, 3), 40_000, np.uint16)), "has more than 8 bits a pixel"),
        (moving(), "moves or has several pages"),
    ],
)
def test_what_is_no_such_image_is_told(row: object, message: str) -> None:
    with pytest.raises(WrongRows) as refused:
        read_rows(IMAGE, [PIXELS, row])

    problem = refused.value.problems[0]
    assert (problem.path, problem.message) == ("rows[1]", message)
    assert problem.hint == "the model takes 3 × 2 with 1 channel, bytes from 0 to 255"


def test_several_models_read_all_that_any_of_them_has_learned_from() -> None:
    hours = Numeric(name="hours", fill=8.0, shift=0.0, scale=1.0)
    jobs = Categorical(name="job", categories=("cook", "pilot"))
    other = PEOPLE.model_copy(update={"numeric": (hours,), "categorical": (jobs,)})

    both = in_common([PEOPLE, other])

    assert sorted(both.columns) == ["age", "hours", "job", "member"]
    assert isinstance(both, Schema)
    assert [each.categories for each in both.categorical] == [("clerk", "cook", "pilot"), ("False", "True")]


def test_a_value_of_a_column_without_known_categories_is_told_as_it_was_written() -> None:
    rare = PEOPLE.model_copy(update={"categorical": (Categorical(name="job", categories=()),)})

    _, notes = read_rows(rare, [{"age": 31, "job": "true"}])

    assert "'true'" in "".join(notes)
