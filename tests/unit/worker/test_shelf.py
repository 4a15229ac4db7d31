"""The shelf of a machine: made once, shared by all slots, and cleared when its supervisor is gone."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path

import pytest
import torch

from store.settings import Settings
from trainer.config import Data
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.errors import DataError
from worker import shelf as module
from worker.shelf import Shelf, shelf_folder


@pytest.fixture(scope="module")
def iris() -> Prepared:
    return prepare(Data(source="sklearn:iris"), device=torch.device("cpu"), data_folders=())


def test_slots_that_want_the_same_at_once_make_it_once(tmp_path: Path, iris: Prepared) -> None:
    made: list[int] = []

    def make() -> Prepared:
        made.append(1)
        time.sleep(0.05)  # the others come meanwhile
        return iris

    taken: list[object] = []
    slots = [threading.Thread(target=lambda: taken.append(Shelf(tmp_path).take(1, "x", make))) for _ in range(4)]
    for slot in slots:
        slot.start()
    for slot in slots:
        slot.join()

    assert len(taken) == 4
    assert len(made) == 1


def test_studies_and_preparations_are_told_apart(tmp_path: Path, iris: Prepared) -> None:
    made: list[tuple[int, str]] = []
    shelf = Shelf(tmp_path)
    wanted = [(1, "a"), (2, "a"), (1, "b"), (1, "a")]

    for study_id, preparation in wanted:

        def make(key: tuple[int, str] = (study_id, preparation)) -> Prepared:
            made.append(key)
            return iris

        shelf.take(study_id, preparation, make)

    assert made == wanted[:3]


def test_what_cannot_be_made_is_told_and_tried_again(tmp_path: Path, iris: Prepared) -> None:
    def refuse() -> Prepared:
        raise DataError("trial.data.source", "there is no such file")

    with pytest.raises(DataError):
        Shelf(tmp_path).take(1, "a", refuse)

    assert Shelf(tmp_path).take(1, "a", lambda: iris).fingerprint == iris.fingerprint


def test_a_full_disk_costs_the_sharing_and_not_the_trial(
    tmp_path: Path, iris: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.data.mapped.save", full)

    assert Shelf(tmp_path).take(1, "a", lambda: iris) is iris


def test_those_used_last_are_kept(tmp_path: Path, iris: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    shelf = Shelf(tmp_path)
    for preparation in ("a", "b", "a", "c"):
        shelf.take(1, preparation, lambda: iris)
        time.sleep(0.01)  # a clock of files may be coarse

    asked: list[str] = []

    def make_b() -> Prepared:
        asked.append("b")
        return iris

    shelf.take(1, "a", lambda: pytest.fail("a was used last but one"))
    shelf.take(1, "b", make_b)
    assert asked == ["b"]


def test_a_supervisor_clears_away_what_dead_ones_have_left_and_no_other(tmp_path: Path) -> None:
    settings = Settings(home_dir=tmp_path)
    with shelf_folder(settings) as living:
        (living / "x").mkdir(parents=True)
        dead = living.parent / "dead"
        dead.mkdir()
        (living.parent / "dead.alive").touch()

        with shelf_folder(settings) as second:
            assert second != living
            assert living.exists()
            assert not dead.exists()

    assert list(living.parent.iterdir()) == []


def test_a_home_that_a_worker_makes_is_closed_to_others(tmp_path: Path) -> None:
    with shelf_folder(Settings(home_dir=tmp_path / "a" / "home")):
        assert stat.S_IMODE((tmp_path / "a" / "home").stat().st_mode) == 0o700
