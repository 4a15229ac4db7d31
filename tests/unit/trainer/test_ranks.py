"""Two ranks train as one process does, and stay of one mind: over gloo, the first rank being the test itself."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.unit.trainer.conftest import MemoryFolder, Recorder
from tests.unit.trainer.ranked import SECONDS, together, train
from trainer.fit import Fitted
from trainer.ranks import Group, join

ROOT = Path(__file__).parent.parent.parent.parent

Trained = tuple[Fitted, Recorder, MemoryFolder]


@pytest.fixture(scope="module")
def paused_alone() -> MemoryFolder:
    return train("even", decide={2: "pause"})[2]


@pytest.fixture(scope="module")
def both(paused_alone: MemoryFolder) -> tuple[dict[str, Trained], dict[str, tuple[str, int, int]]]:
    """What the first rank has come to, and of the second the endings, the epochs and the number of files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    address["GLOO_SOCKET_IFNAME"] = "lo"
    environment = os.environ | address | {"RANK": "1", "LOCAL_RANK": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.unit.trainer.ranked"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (address | {"RANK": "0", "LOCAL_RANK": "0"}).items():
            patch.setenv(name, value)
        with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE) as second:
            with join("cpu", SECONDS) as ranks:
                first = together(ranks, {"even": paused_alone})
            printed, _ = second.communicate(timeout=SECONDS.total_seconds())
    return first, ast.literal_eval(printed.decode())


def weights(folder: MemoryFolder) -> dict[str, Tensor]:
    [model] = [name for name in folder if name.startswith("model.") and name.endswith(".safetensors")]
    return safetensors.torch.load(folder[model])


@pytest.mark.parametrize("name", ["even", "odd", "nothing left for the second rank", "weighted", "uphill", "seeds"])
def test_two_ranks_come_to_the_weights_of_a_single_process(both: tuple[dict[str, Trained], object], name: str) -> None:
    """Without what is drawn for single rows, the same but for the order in which numbers are added."""
    fitted, recorder, folder = both[0][name]
    alone, reports, alone_folder = train(name)

    torch.testing.assert_close(weights(folder), weights(alone_folder), rtol=1e-3, atol=1e-5)
    assert recorder.reports.keys() == reports.reports.keys()
    for epoch, metrics in reports.reports.items():
        assert recorder.reports[epoch] == pytest.approx(metrics, rel=1e-3, abs=1e-5)
    assert fitted.metrics == pytest.approx(alone.metrics, rel=1e-3)


def test_both_ranks_end_alike_and_the_first_alone_keeps_files(
    both: tuple[dict[str, Trained], dict[str, tuple[str, int, int]]],
) -> None:
    first, second = both
    assert second == {name: (fitted.ending, fitted.epochs, 0) for name, (fitted, _, _) in first.items()}
    assert second["pruned"] == ("pruned", 2, 0)
    assert second["paused"] == ("paused", 2, 0)
    assert second["patient"] == ("finished", 2, 0)  # the second epoch is not better by 10
    assert first["noisy"][0].ending == "finished"
    assert first["pruned"][2] == {}


def test_a_group_goes_on_from_one_process_and_one_process_from_a_group(
    both: tuple[dict[str, Trained], object],
) -> None:
    whole = weights(train("even")[2])
    _, recorder, of_group = both[0]["resumed"]
    assert list(recorder.reports) == [3]
    torch.testing.assert_close(weights(of_group), whole, rtol=1e-3, atol=1e-5)

    _, recorder, of_one = train("even", resume_from=both[0]["paused"][2])
    assert list(recorder.reports) == [3]
    torch.testing.assert_close(weights(of_one), whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("rows", [12, 13, 16, 17])
def test_ranks_split_every_batch_and_each_row_counts_once(rows: int, size: int) -> None:
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    splits = [Group(rank, size).split(order, 6, None) for rank in range(size)]

    pieces = [split.order.split(split.rows) for split in splits]
    assert {len(piece) for piece in pieces} == {-(-rows // 6)}  # all ranks step as often
    for batch, wanted in enumerate(order.split(6)):
        counts = [split.counts[batch] for split in splits]
        own = [piece[batch] for piece, count in zip(pieces, counts, strict=True) if count]
        assert torch.cat(own).tolist() == wanted.tolist()
        assert counts == pytest.approx(
            [len(piece[batch]) if count else 0 for piece, count in zip(pieces, counts, strict=True)]
        )


def test_noise_is_each_ranks_own_anew_in_each_epoch_and_the_order_is_as_if_there_were_none() -> None:
    shared, untouched = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    ranks = [Group(rank, 2) for rank in range(2)]
    noises = [rank.noise(shared) for rank in ranks]
    drawn = []
    for _epoch in range(2):
        for rank, noise in zip(ranks, noises, strict=True):
            rank.begin_epoch(shared, noise)
            drawn.append(tuple(torch.rand(4, generator=noise).tolist()))
        assert torch.randperm(9, generator=shared).tolist() == torch.randperm(9, generator=untouched).tolist()

    assert len(set(drawn)) == 4
