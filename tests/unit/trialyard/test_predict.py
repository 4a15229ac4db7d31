"""Files of rows that no model is asked about, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

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
        ("rows.csv", b"age,job,age\n31,clerk,40\n", "the column age is there twice"),
        ("rows.tsv", b"age\t age\n31\t40\n", "the column age is there twice"),
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
    asked: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.extend(json.loads(request.content)["rows"])
        document = {"trial": 1, "task": "regression", "target": "pay", "predictions": [{"value": 1.5}]}
        return httpx.Response(200, json=document)

    (tmp_path / name).write_text(content, encoding="utf-8")
    with Client("http://server", transport=httpx.MockTransport(answer)) as client:
        predict_file(client, "adult", [tmp_path / name], output=tmp_path / "answers.csv")

    assert asked == [{"age": "31", "job": "clerk"}]
    assert (tmp_path / "answers.csv").read_text() == "age,job,prediction\n31,clerk,1.5\n"
