"""Checkpoint files: what goes in comes out, and a file that was touched is never taken for whole."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.trainer.conftest import MemoryFolder
from trainer.checkpoint import Checkpoint, clear, pack, read_newest, unpack, write
from trainer.errors import Damaged

TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "steps": torch.tensor(7),
    "generator": torch.arange(5, dtype=torch.uint8),
    "empty": torch.empty(0, 4),
}
PACKED = pack(Checkpoint(3, TENSORS, {"loss": 0.1, "name": "ü"}))


def same(one: Checkpoint, other: Checkpoint) -> bool:
    return (
        (one.epoch, one.scalars, one.tensors.keys()) == (other.epoch, other.scalars, other.tensors.keys())
        and all(one.tensors[name].dtype == other.tensors[name].dtype for name in one.tensors)
        and all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    )


def test_what_is_packed_comes_out_the_same() -> None:
    assert same(unpack(PACKED), Checkpoint(3, TENSORS, {"loss": 0.1, "name": "ü"}))


def test_the_file_is_a_safetensors_file_that_others_can_open() -> None:
    assert torch.equal(safetensors.torch.load(PACKED)["weight"], TENSORS["weight"])


@settings(deadline=None, max_examples=400)
@given(place=st.integers(0, len(PACKED) - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_is_found_or_changes_nothing(place: int, flip: int) -> None:
    damaged = bytearray(PACKED)
    damaged[place] ^= flip

    try:
        found = unpack(bytes(damaged))
    except Damaged:
        return
    assert same(found, unpack(PACKED))  # a blank of the header's padding, or a case of a hexadecimal escape


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, len(PACKED) - 1])
def test_a_file_cut_short_is_found(length: int) -> None:
    with pytest.raises(Damaged):
        unpack(PACKED[:length])


def test_a_folder_keeps_the_newest_two() -> None:
    folder = MemoryFolder({"model.json": b"{}"})
    for epoch in (8, 9, 10, 11):
        write(folder, Checkpoint(epoch, TENSORS, {}))

    assert sorted(folder) == ["checkpoint-0000010.safetensors", "checkpoint-0000011.safetensors", "model.json"]


def test_reading_goes_from_the_newest_back_through_all_folders_past_damaged_files() -> None:
    newer, older = MemoryFolder(), MemoryFolder()
    for folder, epochs in ((newer, (5, 6)), (older, (3, 4))):
        for epoch in epochs:
            write(folder, Checkpoint(epoch, TENSORS, {}))
    newer["checkpoint-0000006.safetensors"] = newer["checkpoint-0000006.safetensors"][:-1]
    lines: list[str] = []

    found = [checkpoint.epoch for checkpoint in read_newest([newer, older], lines.append)]

    assert found == [5, 4, 3]
    assert len(lines) == 1
    assert lines[0].startswith("checkpoint-0000006.safetensors cannot be used: ")


def test_clearing_takes_the_checkpoints_and_nothing_else() -> None:
    folder = MemoryFolder({"model.json": b"{}", "log.txt": b"", "checkpoint-0000001.safetensors": b"old"})

    clear(folder)

    assert sorted(folder) == ["log.txt", "model.json"]
