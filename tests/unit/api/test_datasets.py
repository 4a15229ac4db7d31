"""Data sets over the API and the SDK: kept whole, once, under names that lead nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.artifacts import MANIFEST, Artifacts
from store.datasets import ENDINGS
from store.settings import Settings
from tests.api_server import ApiServer, on_sqlite, serving
from trainer.data import sources
from trialyard.client import Client
from trialyard.errors import Conflict, InvalidRequest, NotFound

ROWS = b"x,y\n" + b"".join(b"%d,%d\n" % (n, n % 2) for n in range(50))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_dataset_bytes": 1000})


@pytest.fixture
def server(settings: Settings) -> Iterator[ApiServer]:
    with serving(settings) as server:
        yield server


@pytest.fixture
def client(server: ApiServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_bytes(ROWS)
    return tmp_path / "rows.csv"


def test_a_file_is_kept_listed_and_forgotten(server: ApiServer, client: Client, rows: Path) -> None:
    kept = client.upload_dataset("mine", rows)

    folder = Artifacts(server.settings.artifacts).dataset("mine")
    assert (kept.ending, kept.bytes, kept.sha256) == (".csv", len(ROWS), hashlib.sha256(ROWS).hexdigest())
    assert folder.read(f"{kept.sha256}.csv") == ROWS
    assert list(client.datasets()) == [kept]
    assert server.http.get("/api/v1/datasets/mine").json()["name"] == "mine"

    client.delete_dataset("mine")

    assert list(client.datasets()) == []
    assert folder.names() == []
    with pytest.raises(NotFound, match="no data set 'mine'"):
        client.delete_dataset("mine")


@on_sqlite
def test_the_same_file_again_is_fine_and_another_one_is_not(server: ApiServer, client: Client, rows: Path) -> None:
    first = client.upload_dataset("mine", rows)
    assert client.upload_dataset("mine", rows) == first

    rows.write_bytes(ROWS + b"1,1\n")
    with pytest.raises(Conflict, match="another data set 'mine'"):
        client.upload_dataset("mine", rows)

    assert Artifacts(server.settings.artifacts).dataset("mine").names() == sorted([MANIFEST, f"{first.sha256}.csv"])


@on_sqlite
@pytest.mark.parametrize("name", ["../mine", "a/b", ".hidden", "", "Upper", "x" * 65])
def test_a_name_that_leads_elsewhere_is_refused(client: Client, rows: Path, name: str) -> None:
    with pytest.raises(InvalidRequest):
        client.upload_dataset(name, rows)
    assert list(client.datasets()) == []


@on_sqlite
@pytest.mark.parametrize(
    ("file", "body", "status", "says"),
    [
        ("rows.exe", ROWS, 422, "has an ending that cannot be read"),
        ("rows", ROWS, 422, "has an ending that cannot be read"),
        ("../../etc/passwd", ROWS, 422, "has an ending that cannot be read"),
        ("rows.csv", b"", 422, "the file is empty"),
        ("rows.csv", ROWS * 10, 413, "larger than 1,000 bytes"),
    ],
)
def test_a_file_that_cannot_be_kept_is_refused(
    server: ApiServer, file: str, body: bytes, status: int, says: str
) -> None:
    answer = server.http.post("/api/v1/datasets", params={"name": "mine", "file": file}, content=body)

    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    assert server.http.get("/api/v1/datasets").json()["items"] == []


@on_sqlite
def test_what_an_upload_does_not_say_is_told_with_its_place(server: ApiServer) -> None:
    answer = server.http.post("/api/v1/datasets", params={"name": "mine"}, content=ROWS)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"path": "file", "message": "is missing", "hint": "say it in the address, as in ?file=…"}
    ]


@on_sqlite
def test_a_body_without_a_length_is_cut_off_where_it_grows_too_large(server: ApiServer) -> None:
    pieces = (ROWS for _ in range(10))

    answer = server.http.post("/api/v1/datasets", params={"name": "mine", "file": "a.csv"}, content=pieces)

    assert answer.status_code == 413


@on_sqlite
def test_a_data_set_stays_while_a_study_trains_on_it(server: ApiServer, client: Client, rows: Path) -> None:
    client.upload_dataset("mine", rows)
    parameters = {"optimizer.lr": {"low": 0.01, "high": 0.1}}
    server.create("s", parameters=parameters, trial={"data": {"source": "dataset:mine"}})

    with pytest.raises(Conflict, match="the study 's' trains on the data set 'mine'"):
        client.delete_dataset("mine")


def test_what_may_be_uploaded_is_what_workers_read() -> None:
    assert ENDINGS == sources.ENDINGS
