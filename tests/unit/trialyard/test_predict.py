"""Files of rows that no model is asked about, and what is said of them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import httpx
import pandas as pd
import pytest

from trainer.config import Data
from trainer.data.sources import Place, read
from trialyard.client import Client
from trialyard.errors import BadInput
from trialyard.predict import predict_file


@pytest.fixture
def client() -> Iterator[Client]:
    with Client("http://127.0.0.1:9") as client:  # nobody answers there
        yield client


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.csv", b"", "there are no rows in it"),
        ("rows.csv", b"age,job\n", "there are no rows in it"),
        ("rows.csv", b"age,job\n31\n", "line 2 does not have the header's 2 values"),
        ("rows.csv", b"age,job\n31,caf\xe9\n", "is no text in UTF-8"),
        ("rows.xlsx", b"age\n31\n", "rows are read from files that end in .csv"),
    ],
)
def test_a_file_whose_rows_cannot_be_told_is_refused(
    tmp_path: Path, client: Client, name: str, content: bytes, says: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)

    with pytest.raises(BadInput, match=says):
        predict_file(client, "adult", [file])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "age,job\n31,clerk\n"),
        ("rows.csv", "\ufeffage;job\n31;clerk\n"),
        ("rows.csv", '"age";job\n31;clerk\n'),
        ("rows.tsv", "age\tjob\n31\tclerk\n"),
    ],
)
def test_the_first_line_says_what_divides_the_fields(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")

    assert asked_of(tmp_path / name) == [{"age": "31", "job": "clerk"}]
    assert (tmp_path / "answers.csv").read_text() == "age,job,prediction\n31,clerk,1.5\n"


@pytest.mark.parametrize(
    "header", ["age,job,age", "age,age,age.1", "age,age.1,age", "age,,job", ",job,", "age, age,age", "a.1,a,a"]
)
def test_columns_are_called_as_in_the_training(tmp_path: Path, header: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f"{header}\n1,2,3\n", encoding="utf-8")
    trained = read(Place("trial.data.source", f"file:{file}"), Data(source=f"file:{file}"), data_folders=[tmp_path])

    [row] = asked_of(file)

    assert isinstance(trained.rows, pd.DataFrame)
    assert row == {name: str(value) for name, value in trained.rows.iloc[0].items()}


@pytest.mark.parametrize(
    ("quoting", "rows"),
    [("none", [{"text": '"well'}, {"text": 'done"'}]), ("standard", [{"text": "well\ndone"}])],
)
def test_a_quotation_mark_is_what_the_study_says(tmp_path: Path, quoting: str, rows: list[object]) -> None:
    (tmp_path / "rows.tsv").write_text('text\n"well\ndone"\n', encoding="utf-8")

    assert asked_of(tmp_path / "rows.tsv", {"quoting": quoting}) == rows


def test_a_folder_stands_for_its_images(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, content in (("b.png", b"second"), ("a.JPG", b"first"), ("notes.txt", b"no picture")):
        (folder / name).write_bytes(content)

    assert asked_of(folder) == [b64encode(content).decode() for content in (b"first", b"second")]
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines == ["row,prediction", f"{folder / 'a.JPG'},1.5", f"{folder / 'b.png'},1.5"]


def test_a_folder_without_images_is_refused(tmp_path: Path, client: Client) -> None:
    with pytest.raises(BadInput, match=r"there are no images in this folder \(\.png"):
        predict_file(client, "digits", [tmp_path])


def asked_of(file: Path, data: Mapping[str, str] = MappingProxyType({})) -> list[object]:
    """The rows that a server is sent, of a study with such a section."""
    asked: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            study = {"name": "adult", "state": "COMPLETE", "created_at": "2026-01-01T00:00:00Z", "counts": {}}
            return httpx.Response(200, json=study | {"definition": {"trial": {"data": dict(data)}}})
        rows = json.loads(request.content)["rows"]
        asked.extend(rows)
        predictions = [{"value": 1.5}] * len(rows)
        document = {"trial": 1, "task": "regression", "target": "pay", "predictions": predictions}
        return httpx.Response(200, json=document)

    with Client("http://server", transport=httpx.MockTransport(answer)) as client:
        predict_file(client, "adult", [file], output=file.parent / "answers.csv")
    return asked
