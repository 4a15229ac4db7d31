"""A person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import Person


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    person = Person(tmp_path)
    yield person
    person.cleans_up()


@pytest.fixture(scope="module")
def settled_person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """One whose folder and service serve several tests."""
    person = Person(tmp_path_factory.mktemp("person"))
    yield person
    person.cleans_up()
