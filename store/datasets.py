"""Data sets that people have uploaded: their rows in the database, their files among the artifacts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.artifacts import MANIFEST, Artifacts
from store.errors import Conflict, NotFound, Problem, Unprocessable
from store.models import DatasetRow, StudyRow, StudyState

# What a worker can read, each also as .gz; a folder of images or a pair of IDX files goes into one .npz.
ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl", ".npz")


class Datasets:
    """Reads and writes the data sets of one database session. Nothing here commits: the caller's boundary does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> Sequence[DatasetRow]:
        """By name."""
        return self._session.scalars(select(DatasetRow).order_by(DatasetRow.name)).all()

    def get(self, name: str) -> DatasetRow:
        """Raises: NotFound."""
        row = self._session.get(DatasetRow, name)
        if row is None:
            raise NotFound(f"there is no data set {name!r}")
        return row

    def find(self, name: str) -> DatasetRow | None:
        return self._session.get(DatasetRow, name)

    def add(self, row: DatasetRow) -> None:
        """A new one; the database refuses a second of its name."""
        self._session.add(row)
        self._session.flush()

    def delete(self, name: str) -> None:
        """Forget a data set.

        Raises:
            NotFound: there is none of this name.
            Conflict: a study that has not ended trains on it.
        """
        self.get(name)
        open_states = [state for state in StudyState if not state.ended]
        studies = select(StudyRow.name, StudyRow.definition).where(StudyRow.state.in_(open_states))
        for study, definition in self._session.execute(studies):
            data = definition["trial"].get("data")
            if isinstance(data, dict) and f"dataset:{name}" in (data.get("source"), data.get("test_source")):
                raise Conflict(f"the study {study!r} trains on the data set {name!r}; cancel it, or wait until it ends")
        self._session.execute(delete(DatasetRow).where(DatasetRow.name == name))


def ending_of(file: str) -> str:
    """The ending of an uploaded file's name, as in `.csv.gz`.

    Raises:
        Unprocessable: it is none that a worker can read.
    """
    suffixes = [suffix.lower() for suffix in Path(file).suffixes[-2:]]
    packed = suffixes[-1:] == [".gz"]
    ending = suffixes[-2] if packed and len(suffixes) == 2 else "".join(suffixes[-1:])
    if ending not in ENDINGS:
        known = Problem("file", f"{file!r} has an ending that cannot be read", f"{' '.join(ENDINGS)}, each also as .gz")
        raise Unprocessable(str(known), [known])
    return f"{ending}.gz" if packed else ending


def keep(artifacts: Artifacts, row: DatasetRow, source: Path) -> None:
    """Keep the file of a data set by its checksum; what names it is written last, so that it never names what is not
    there.
    """
    folder, file = artifacts.dataset(row.name), f"{row.sha256}{row.ending}"
    folder.upload(file, source)
    manifest = {"file": file, "ending": row.ending, "bytes": row.bytes, "sha256": row.sha256}
    folder.write(MANIFEST, json.dumps(manifest).encode())


def described(name: str, ending: str, size: int, sha256: str, at: datetime) -> DatasetRow:
    return DatasetRow(name=name, ending=ending, bytes=size, sha256=sha256, created_at=at)
