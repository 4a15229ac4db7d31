"""Files of rows that no model is asked about, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
