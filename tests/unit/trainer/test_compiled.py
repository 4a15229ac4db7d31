"""Compiled passes: what is decided about them, and that they are the same passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch._inductor import config as inductor

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from trainer.checkpoint import pack, unpack
from trainer.compiled import Passes
from trainer.config import TrainConfig
from trainer.data.mapped import placed, room_on
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit
from trainer.training import Training

LOSS = Monitor("val/loss", "minimize")
# What PyTorch says of itself at the first compilation of a process, and of what it looks at while it traces
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]


def configure(**changes: Any) -> TrainConfig:
    told = {"model": {"hidden": [4]}, "epochs": 3, "batch_size": 32, "checkpoint": {"every_seconds": 0.0}}
    return TrainConfig.model_validate({"data": {"source": "sklearn:iris"}} | told | changes)


@pytest.mark.parametrize(
    ("epochs", "stage", "says"),
    [
        # Compiling takes 30 s and is tried for 20 times that: 600 s. The first epoch has in it what happens only once.
        ([(9.0, 100), (6.0, 99)], "off", "99 epochs of 6 s are left, too few for it to pay"),
        ([(9.0, 101), (6.0, 100)], "tried", "100 epochs of 6 s are left, it is tried"),
        ([(9.0, 101), (6.0, 100), (36.0, 99)], "tried", "it is tried"),
        ([(9.0, 101), (6.0, 100), (36.0, 99), (3.0, 98)], "kept", "took 33 s, an epoch 3 s in place of 6: kept"),
        ([(9.0, 101), (6.0, 100), (36.0, 99), (5.8, 98)], "off", "took 30.2 s, an epoch 5.8 s in place of 6: given up"),
        ([(9.0, 101), (6.0, 100), (36.0, 99), (5.8, 98), (1.0, 97), (1.0, 96)], "off", "given up"),
    ],
)
def test_auto_tries_it_where_enough_is_left_and_keeps_it_where_epochs_are_faster(
    epochs: list[tuple[float, int]], stage: str, says: str
) -> None:
    passes = Passes(configure(compile="auto"), CPU)

    for seconds, left in epochs:
        passes.took(seconds, left)

    assert passes.stage == stage
    assert says in passes.notes[-1]


@pytest.mark.parametrize(
    ("changes", "ranks", "says"),
    [
        ({"compile": True, "data": {"source": "sklearn:iris", "augment": {"fgsm": 0.1}}}, 1, "fgsm"),
        ({"compile": "auto", "seeds": 2}, 1, "several models a trial"),
        ({"compile": True}, 2, "over several processes"),
        ({"compile": "cuda_graphs"}, 1, "cuda_graphs needs a GPU"),
    ],
)
def test_what_cannot_be_compiled_is_trained_without_and_says_so(changes: Any, ranks: int, says: str) -> None:
    passes = Passes(configure(**changes), CPU, ranks)

    assert passes.stage == "off"
    [note] = passes.notes
    assert says in note
    assert note.endswith("trained without")


def test_without_a_compiler_it_is_trained_without(
    iris: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    reporter = Recorder()

    fitted = fit(configure(compile=True), iris, monitor=LOSS, reporter=reporter, folder=MemoryFolder())

    assert fitted.epochs == 3
    assert "C++ compiler (g++ or clang++), and there is none on this machine" in "".join(reporter.lines)


def test_graphs_do_not_gather_gradients() -> None:
    with pytest.raises(ValidationError, match="let accumulate be 1"):
        configure(compile="cuda_graphs", accumulate=2)


@pytest.mark.skipif(Passes(configure(compile="auto"), CPU).stage == "off", reason="needs a C++ compiler")
def test_a_resumed_training_goes_on_with_what_was_decided(iris: Prepared) -> None:
    first, resumed = (Training(configure(compile="auto"), iris, LOSS) for _ in range(2))
    for seconds, left in ((9.0, 101), (6.0, 100), (36.0, 99), (5.8, 98)):
        first._passes.took(seconds, left)
    first.run_epoch()

    resumed.restore(unpack(pack(first.checkpoint())))

    assert first._passes.stage == "off"
    assert resumed._passes.state() == first._passes.state()


@pytest.mark.skipif(Passes(configure(compile=True), CPU).stage == "off", reason="needs a C++ compiler")
def test_a_compiled_training_takes_the_same_steps_and_goes_on_bit_for_bit(iris: Prepared) -> None:
    # 90 rows are two full batches of 32, which are compiled for, and one of 26, which is not.
    config = configure(compile=True, regularization={"dropout": 0.3}, epochs=2)
    plain, compiled, resumed, folder = Recorder(), Recorder(), Recorder(), MemoryFolder()
    fit(config.model_copy(update={"compile": False}), iris, monitor=LOSS, reporter=plain, folder=MemoryFolder())
    fit(config, iris, monitor=LOSS, reporter=compiled, folder=MemoryFolder())
    with pytest.raises(Killed):
        fit(config, iris, monitor=LOSS, reporter=Recorder(killed_at=1), folder=folder)

    fit(config, iris, monitor=LOSS, reporter=resumed, folder=MemoryFolder(), resume_from=[folder])

    assert [line for line in compiled.lines if line.startswith("compile: took")], compiled.lines
    for epoch in (1, 2):
        assert compiled.reports[epoch] == pytest.approx(plain.reports[epoch], rel=1e-4)
    assert resumed.reports == {2: compiled.reports[2]}


def test_a_compiler_that_fails_does_not_end_the_training(iris: Prepared) -> None:
    reporter = Recorder()

    with inductor.patch({"cpp.cxx": ("/bin/false",), "force_disable_caches": True}):
        fitted = fit(configure(compile=True), iris, monitor=LOSS, reporter=reporter, folder=MemoryFolder())

    assert fitted.epochs == 3
    assert reporter.lines[0].startswith("compile: it failed, and the training goes on without")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_graphs_take_the_same_steps(iris: Prepared) -> None:
    device = torch.device("cuda")
    there = placed(iris, device, room_on(device, 1.0))
    losses = []
    for choice in (False, "cuda_graphs"):
        reporter, config = Recorder(), configure(compile=choice)
        fit(config, there, monitor=LOSS, reporter=reporter, folder=MemoryFolder())
        losses.append([reporter.reports[epoch]["train/loss"] for epoch in (1, 2, 3)])

    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
