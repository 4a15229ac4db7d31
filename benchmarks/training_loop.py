"""How many rows a second does the training loop train on, beside the loops that people use?

    python -m benchmarks.training_loop [--quick] [--case NAME] [--loop NAME]

A perceptron on the Adult census, a convolutional network on Fashion-MNIST and a bag of embeddings on SMS messages, the
files below TRIALYARD_DATA_DIR as the examples name them. All train the same model with AdamW's defaults for the same
epochs, by turns, on one thread. Ours runs as a trial does, with all that it keeps: every metric of each epoch, the best
weights, early stopping, checkpoints written to disk, reports, and the model file at the end, in a process with a slot's
environment. The others run in a second process, compute the loss and the accuracy of the validation part after each
epoch, and keep nothing. Each loop has trained an epoch before it is measured.

Seconds are the processor's: on one thread they are those of an idle machine. `outside` is the share of them that is
not within the model's forward pass in training, `backward` and the optimizer's step. `first pass` are the milliseconds
from the start of a trial to its first forward pass, data set and code being there.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.optim import AdamW

from benchmarks.loops import LR, PEERS, Job
from store.artifacts import Artifacts
from store.messages import AttemptKey
from trainer import adamw
from trainer.config import TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Part, Prepared
from trainer.fit import Decision, fit
from trainer.models import image
from trainer.models.build import build
from trainer.models.image import CNN, Pixels
from trainer.models.layers import Network
from trainer.models.mlp import MLP
from trainer.models.text import EmbeddingBag, TokenBag
from trainer.progress import Monitor
from worker.places import HEAP

ROUNDS = 3
PACKAGES = {"Lightning": "lightning", "skorch": "skorch", "Accelerate": "accelerate"}

CASES: dict[str, dict[str, Any]] = {
    "Adult, mlp": {
        "data": {"source": "file:tabular/adult_train.csv", "target": "income", "missing_values": ["?"]},
        "model": {"name": "mlp", "hidden": [128, 64]},
        "epochs": 6,
    },
    "Fashion-MNIST, cnn": {
        "data": {"source": "file:image/fashion_mnist/train-images-idx3-ubyte.gz"},
        "model": {"name": "cnn", "width": 16, "depth": 2, "norm": "batch"},
        "epochs": 2,
    },
    "SMS, embedding_bag": {
        "data": {"source": "file:text/sms_spam.tsv", "quoting": "none", "text": "text", "target": "label"},
        "model": {"name": "embedding_bag", "width": 64, "hidden": [64]},
        "epochs": 6,
        "batch_size": 64,
    },
}
TRAINED_ROWS, HELD_OUT_ROWS = 12_800, 3_200


@dataclass
class Run:
    """One loop's training: processor seconds, those within the model and the optimizer, those before the first pass."""

    seconds: float
    inside: float
    first_pass: float
    rows: int = 0  # that it was trained on, over all epochs


class Quiet:
    """A reporter that lets a training go on, as a worker's does after a message."""

    def report(self, _epoch: int, metrics: Mapping[str, float]) -> Decision:
        json.dumps(dict(metrics))
        return "continue"

    def log(self, line: str) -> None: ...


def configuration(case: str) -> TrainConfig:
    more = {"optimizer": {"name": "adamw", "lr": LR}, "early_stopping": {"patience": 100}}
    return TrainConfig.model_validate(CASES[case] | more)


@lru_cache(maxsize=1)
def prepared_of(case: str, folder: Path) -> Prepared:
    config = configuration(case)
    prepared = prepare(config.data, device=torch.device("cpu"), data_folders=[folder], as_images=config.takes_images)
    assert prepared.test is not None
    return dataclasses.replace(
        prepared,
        train=_first(TRAINED_ROWS, prepared.train),
        validation=_first(HELD_OUT_ROWS, prepared.validation),
        test=_first(HELD_OUT_ROWS, prepared.test),
    )


def _first(rows: int, part: Part) -> Part:
    return Part(tuple(tensor[:rows] for tensor in part.inputs), part.y[:rows])


def names_of(config: TrainConfig, only: Collection[str]) -> list[str]:
    """Every loop that can run here, or `only` these; ours first."""
    names = [name for name in PEERS if name not in PACKAGES or importlib.util.find_spec(PACKAGES[name])]
    for missing in PEERS.keys() - names:
        print(f"{missing} is left out: install {PACKAGES[missing]}", file=sys.stderr)
    if config.model.name != "mlp":
        names.remove("scikit-learn")
    names = ["ours, precision: auto"] * (config.model.name == "cnn") + names
    return ["ours", *(name for name in names if not only or name in only)]


def train(case: str, name: str, folder: Path, epochs: int | None = None) -> Run:
    """Train a fresh model once by the loop of that name, in this process."""
    config = configuration(case)
    prepared = prepared_of(case, folder)
    precision = "auto" if name.endswith("auto") else config.precision
    config = config.model_copy(update={"epochs": epochs or config.epochs, "precision": precision})
    plain = plain_data(prepared)

    def loop() -> None:
        if name.startswith("ours"):
            ours(config, prepared)
        else:
            PEERS[name](Job(plain_model(config, prepared), plain, config.batch_size, config.epochs))

    return dataclasses.replace(measure(loop), rows=prepared.train.rows * config.epochs)


def plain_model(config: TrainConfig, prepared: Prepared) -> Network:
    """The model as people write it. Ours lays images out channels last, pools before what never falls, and looks up no
    padding; the numbers are the same.
    """
    with patch.object(image, "NEVER_FALLING", frozenset()):
        model = build(config.model, prepared.schema)
    for module in model.modules():
        if isinstance(module, TokenBag):
            module.forward = partial(torch.nn.EmbeddingBag.forward, module)  # type: ignore[method-assign]
        if isinstance(module, Pixels):
            module.forward = partial(_standardized, module)  # type: ignore[method-assign]
    return model


def _standardized(pixels: Pixels, x: Tensor) -> Tensor:
    return (x.float() - pixels.shift) / pixels.scale


def plain_data(prepared: Prepared) -> Prepared:
    """The data in PyTorch's default memory format. An image of one channel counts as both that and channels last, and
    convolutions go by the strides: they have to be written anew.
    """
    assert prepared.test is not None
    train, validation, test = map(_rewritten, (prepared.train, prepared.validation, prepared.test))
    return dataclasses.replace(prepared, train=train, validation=validation, test=test)


def _rewritten(part: Part) -> Part:
    return Part(tuple(torch.empty(each.shape, dtype=each.dtype).copy_(each) for each in part.inputs), part.y)


def ours(config: TrainConfig, prepared: Prepared) -> None:
    with tempfile.TemporaryDirectory(prefix="training-loop-") as folder:
        artifacts = Artifacts(f"file://{folder}")
        fit(
            config,
            prepared,
            monitor=Monitor("val/accuracy", "maximize"),
            reporter=Quiet(),
            folder=artifacts.attempt(AttemptKey(1, 1, 1)),
            clock=time.process_time,  # or a busy machine would write the checkpoints of a longer training
        )


def measure(loop: Callable[[], None]) -> Run:
    with _watched() as run:
        began = time.process_time()
        loop()
        run.seconds = time.process_time() - began
    run.first_pass -= began
    return run


@contextmanager
def _watched() -> Iterator[Run]:
    """Count the seconds within training forward passes, backward passes and steps, whoever calls them."""
    run = Run(0.0, 0.0, 0.0)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            run.first_pass = run.first_pass or began * getattr(self, "training", True)
            try:
                return call(self, *args, **kwargs)
            finally:
                if getattr(self, "training", True):
                    run.inside += time.process_time() - began

        return wrapper

    def stepped(plain: Callable[..., Any]) -> Callable[..., Any]:
        def step(optimizer: AdamW, closure: Callable[[], Any] | None = None) -> Any:
            if closure is not None:  # forward and backward are in there, and are counted by themselves
                closure()
            return counted(plain)(optimizer)

        return step

    models = [patch.object(kind, "forward", counted(kind.forward)) for kind in (MLP, CNN, EmbeddingBag)]
    with ExitStack() as patches:
        for each in (*models, patch.object(torch.Tensor, "backward", counted(torch.Tensor.backward))):
            patches.enter_context(each)
        for kind in (AdamW, adamw.AdamW):
            patches.enter_context(patch.object(kind, "step", stepped(kind.step)))
        yield run


@contextmanager
def processes() -> Iterator[dict[bool, ProcessPoolExecutor]]:
    """Two of them: one for ours, as a slot starts it, and one for the others."""
    context = get_context("spawn")
    with ExitStack() as stack:
        found = {}
        for is_ours in (True, False):
            pool = ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=(1,))
            found[is_ours] = stack.enter_context(pool)
            with patch.dict(os.environ, HEAP if is_ours else {}):
                pool.submit(os.getpid).result()  # starts it
        yield found


def compare(case: str, folder: Path, rounds: int, only: Collection[str] = ()) -> tuple[Table, dict[str, Any]]:
    config = configuration(case)
    runs: dict[str, list[Run]] = {name: [] for name in names_of(config, only)}
    with processes() as pools:
        for name in runs:  # what is made at the first call only
            pools[name.startswith("ours")].submit(train, case, name, folder, 1).result()
        for _ in range(rounds):
            for name, found in runs.items():
                found.append(pools[name.startswith("ours")].submit(train, case, name, folder).result())
    return tables(case, runs)


def tables(case: str, runs: Mapping[str, list[Run]]) -> tuple[Table, dict[str, Any]]:
    table = Table(case, "rows/s", "ours ×", "from", "to", "outside", "first pass ms", box=None)
    figures = {}
    mine = [run.seconds for run in runs["ours"]]
    for name, each in runs.items():
        rows, seconds = each[0].rows, statistics.median(run.seconds for run in each)
        by_round = [run.seconds / own for run, own in zip(each, mine, strict=True)]  # of neighbours in time
        times = (seconds / statistics.median(mine), min(by_round), max(by_round))
        outside = statistics.median(1 - run.inside / run.seconds for run in each)
        first = 1000 * statistics.median(run.first_pass for run in each)
        watched = name != "scikit-learn"
        shares = (f"{outside:.0%}", f"{first:.0f}") if watched else ("", "")
        table.add_row(name, f"{rows / seconds:,.0f}", *(f"{ratio:.2f}" for ratio in times), *shares)
        figures[name] = {
            "rows_per_second": round(rows / seconds),
            "ours_times": [round(ratio, 3) for ratio in times],
            **({"outside": round(outside, 3), "first_pass_ms": round(first, 1)} if watched else {}),
        }
    return table, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round: a smoke run")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one")
    parser.add_argument(
        "--loop", choices=["ours, precision: auto", *PEERS], action="append", help="beside ours only this"
    )
    arguments = parser.parse_args()
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    if folder is None:
        parser.error("set TRIALYARD_DATA_DIR to the folder with the data sets that the examples name")
    torch.set_num_threads(1)
    console, figures = Console(), {}
    for case in arguments.case or CASES:
        table, figures[case] = compare(case, Path(folder), 1 if arguments.quick else ROUNDS, arguments.loop or ())
        console.print(table)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "training_loop", **machine, "torch": torch.__version__, "cases": figures}))


if __name__ == "__main__":
    main()
