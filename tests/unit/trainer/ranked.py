"""Trainings that two ranks run together: in the test's own process, and in this one as a script."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import torch

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from trainer.config import Data, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Fitted, Monitor, fit
from trainer.ranks import ALONE, Ranks, join

SECONDS = timedelta(seconds=60)  # for one rank to wait for the other

PLAIN = {"model": {"hidden": [8]}, "epochs": 3, "checkpoint": {"every_seconds": 0}}
CONFIGS: dict[str, dict[str, Any]] = {
    # iris has 90 rows to train on: 90 = 5 * 16 + 10, 6 * 13 + 12, 1 * 89 + 1
    "even": PLAIN | {"batch_size": 16},
    "odd": PLAIN | {"batch_size": 13, "accumulate": 2, "optimizer": {"name": "sgd", "lr": 0.1}},
    "nothing left for the second rank": PLAIN | {"batch_size": 89},
    "weighted": PLAIN | {"batch_size": 16, "data": {"source": "sklearn:wine", "class_weight": "balanced"}},
    "noisy": PLAIN
    | {
        "batch_size": 29,  # 90 = 3 * 29 + 3: of the last ones a rank would have a single row to normalize by
        "model": {"hidden": [8, 8], "norm": "batch"},
        "data": {"source": "sklearn:iris", "augment": {"mixup": 0.4, "noise": 0.1}},
        "regularization": {"dropout": 0.3, "ema": 0.9, "max_grad_norm": 1.0},
    },
    "uphill": PLAIN | {"batch_size": 16, "data": {"source": "sklearn:iris", "augment": {"fgsm": 0.1}}},
    "seeds": PLAIN | {"batch_size": 32, "seeds": 2},
    "patient": PLAIN
    | {"batch_size": 16, "epochs": 9, "early_stopping": {"metric": "val/loss", "patience": 1, "min_delta": 10.0}},
}


def config_of(name: str) -> TrainConfig:
    return TrainConfig.model_validate({"data": {"source": "sklearn:iris"}} | CONFIGS[name])


def train(
    name: str, ranks: Ranks = ALONE, *, decide: dict[int, Any] | None = None, resume_from: MemoryFolder | None = None
) -> tuple[Fitted, Recorder, MemoryFolder]:
    config, recorder, folder = config_of(name), Recorder(decide), MemoryFolder()
    fitted = fit(
        config,
        _prepared(config.data),
        monitor=Monitor("val/accuracy", "maximize"),
        reporter=recorder,
        folder=folder,
        resume_from=[] if resume_from is None else [resume_from],
        clock=lambda: 0.0,
        ranks=ranks,
    )
    return fitted, recorder, folder


def together(ranks: Ranks, alone: dict[str, MemoryFolder]) -> dict[str, tuple[Fitted, Recorder, MemoryFolder]]:
    """All of the above by both ranks, and what decisions do. `alone`: what single processes have left, at the first."""
    found = {name: train(name, ranks) for name in CONFIGS}
    found["pruned"] = train("even", ranks, decide={2: "prune"})
    found["paused"] = train("even", ranks, decide={2: "pause"})
    found["resumed"] = train("even", ranks, resume_from=alone.get("even"))
    return found


def _prepared(data: Data) -> Prepared:
    return prepare(data, device=CPU, data_folders=())


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join("cpu", SECONDS) as ranks:
        found = together(ranks, {})
    endings = {name: (fitted.ending, fitted.epochs, len(folder)) for name, (fitted, _, folder) in found.items()}
    sys.stdout.write(repr(endings))
