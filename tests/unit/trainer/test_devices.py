"""Trainings on a device that is not the processor: nothing is left behind, and the figures are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from tests.unit.trainer.pretended_gpu import pretended_gpu
from trainer.config import TrainConfig
from trainer.data.mapped import placed
from trainer.data.prepare import prepare, prepare_for
from trainer.ensemble import retrain
from trainer.ensemble.combine import Combination
from trainer.fit import Fitted, Monitor, fit
from trainer.members import Member
from trainer.model_file import load

EPOCHS, ROOM, NO_ROOM = 3, 2**33, 10  # bytes; with none the rows stay with the processor, and follow batch by batch
MONITOR = Monitor("val/loss", "minimize")
IRIS = {"source": "sklearn:iris"}
DIGITS = {"source": "sklearn:digits"}
MLP = {"name": "mlp", "hidden": [8, 8]}
CNN = {"name": "cnn", "width": 4, "depth": 2}
FEW_STEPS = {"batch_size": 512, "epochs": 2}
SHIFTED = {"rotation": 10, "scaling": 0.1, "translation": 0.1, "colour": 0.2, "erase": 0.3}

TRAININGS: dict[str, dict[str, Any]] = {
    "penalties": {"regularization": {"l1": 1e-4, "l2": 1e-4, "max_grad_norm": 1.0, "max_grad_value": 1.0}},
    "batch norm and dropout": {
        "model": MLP | {"norm": "batch"},
        "regularization": {"dropout": 0.2, "label_smoothing": 0.1},
    },
    "class weights": {"data": IRIS | {"class_weight": "balanced"}, "loss": {"name": "focal"}},
    "balanced sampling": {"sampling": "balanced", "accumulate": 2},
    "mixup": {"data": IRIS | {"augment": {"mixup": 0.4, "noise": 0.1, "feature_dropout": 0.1, "swap": 0.1}}},
    "fgsm": {"data": IRIS | {"augment": {"fgsm": 0.01, "cutout": 0.2}}},
    "skips": {"model": {"name": "mlp", "hidden": [8] * 4, "skip": "shake_shake"}},
    "moving average": {"regularization": {"ema": 0.9}},
    "averaged weights": {"regularization": {"swa": True, "swa_start": 0.3}, "optimizer": {"lookahead_steps": 2}},
    "snapshots": {
        "schedule": {"name": "cosine_restarts", "restart_epochs": 1},
        "regularization": {"snapshots": 2},
    },
    "plateau": {"schedule": {"name": "plateau"}, "early_stopping": {"metric": "val/loss"}},
    "periodic numbers": {"model": MLP | {"numbers": "periodic"}},
    "ft_transformer": {"model": {"name": "ft_transformer", "width": 8, "heads": 2}},
    "regression": {"data": {"source": "sklearn:diabetes"}, "loss": {"name": "quantile", "quantile": 0.7}},
    "folds": {"cross_validation": {"folds": 3}},
    "seeds": {"seeds": 2},
    "units": {"compression": {"name": "units", "share": 0.5, "steps": 1}},
    "magnitude": {"compression": {"name": "magnitude", "share": 0.5, "rewind": True}},
    "synthetic rows": {"data": IRIS | {"synthetic": {"method": "smote", "share": 0.5}}},
    "cnn": {"data": DIGITS | {"augment": SHIFTED}, "model": CNN, **FEW_STEPS},
    "cutmix": {"data": DIGITS | {"augment": {"cutmix": 1.0, "crop": 1, "flip": True}}, "model": CNN, **FEW_STEPS},
    "randaugment": {"data": DIGITS | {"augment": {"randaugment": 5}}, "model": CNN, **FEW_STEPS},
    "resnet": {
        "data": DIGITS,
        "model": {"name": "resnet", "width": 4},
        "regularization": {"stochastic_depth": 0.2},
        **FEW_STEPS,
    },
    "vit": {"data": DIGITS, "model": {"name": "vit", "width": 8, "heads": 2, "patch": 4}, **FEW_STEPS},
    "embedding_bag": {"data": "texts", "model": {"name": "embedding_bag", "width": 8, "hidden": []}},
    "text_cnn": {"data": "texts", "model": {"name": "text_cnn", "width": 8, "hidden": []}},
    "transformer": {"data": "texts", "model": {"name": "transformer", "width": 8, "heads": 2}},
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_is_the_same_elsewhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = TRAININGS[name]
    if told.get("data") == "texts":
        told = told | {"data": _texts(tmp_path)}

    here = _trained(told, tmp_path)
    with pretended_gpu(monkeypatch) as gpu:
        there = _trained(told, tmp_path, gpu)

    assert there.metrics == pytest.approx(here.metrics, abs=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", "lion"])
def test_a_training_goes_on_from_its_checkpoint_there(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"optimizer": {"name": optimizer, "momentum": 0.5, "lookahead_steps": 2}, "regularization": {"ema": 0.5}}
    folder = MemoryFolder()

    with pretended_gpu(monkeypatch) as gpu:
        whole = _trained(told, Path(), gpu)
        with pytest.raises(Killed):
            _trained(told, Path(), gpu, folder=folder, killed_at=2)
        gone_on = _trained(told, Path(), gpu, folder=folder)

    assert gone_on.metrics == whole.metrics
    with_rows = load(folder).predict(pd.DataFrame({name: [1.0] for name in _columns()}))
    assert len(with_rows) == 1  # the model that it left is the processor's again


@pytest.mark.parametrize("told", [{}, {"data": DIGITS, "model": CNN}, {"cross_validation": {"folds": 2}}])
def test_rows_that_have_no_room_there_follow_batch_by_batch(
    told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _trained(told, Path())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    with pretended_gpu(monkeypatch) as gpu:
        there = _trained(told, Path(), gpu, room=NO_ROOM)

    assert there.metrics == pytest.approx(here.metrics, abs=1e-5)


@pytest.mark.parametrize(
    ("build", "source"),
    [(retrain.bag, "sklearn:iris"), (retrain.boost, "sklearn:iris"), (retrain.boost, "sklearn:diabetes")],
)
def test_new_trainings_for_an_ensemble_are_the_same_elsewhere(
    build: Callable[[retrain.Workshop, int, int], tuple[list[Member], Combination]],
    source: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = TrainConfig.model_validate({"data": {"source": source}, "model": MLP, "epochs": 2, "batch_size": 32})

    def weights_on(device: torch.device) -> tuple[float, ...]:
        prepared = prepare(config.data, device=device, data_folders=[])
        _, combination = build(retrain.Workshop(config, prepared, MONITOR, lambda: None), 2, 0)
        return combination.weights

    here = weights_on(CPU)
    with pretended_gpu(monkeypatch) as gpu:
        assert weights_on(gpu) == pytest.approx(here, rel=1e-5)


def test_what_is_left_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch) as gpu:
        there = torch.ones(2, device=gpu)
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(2)
        with pytest.raises(TypeError, match="NumPy"):
            there.numpy()
        assert (there + 1).device == gpu
        assert (there + 1).cpu().tolist() == [2.0, 2.0]


def _trained(
    told: dict[str, Any],
    folder_of_data: Path,
    device: torch.device = CPU,
    *,
    room: int = ROOM,
    folder: MemoryFolder | None = None,
    killed_at: int | None = None,
) -> Fitted:
    defaults = {"data": IRIS, "model": MLP, "epochs": EPOCHS, "batch_size": 32}
    config = TrainConfig.model_validate(defaults | told)
    prepared = prepare_for(config, device=CPU, data_folders=[folder_of_data])
    return fit(
        config,
        placed(prepared, device, room),
        monitor=MONITOR,
        reporter=Recorder(killed_at=killed_at),
        folder=MemoryFolder() if folder is None else folder,
        resume_from=[] if folder is None else [folder],
    )


def _texts(folder: Path) -> dict[str, Any]:
    rows = [("ham", f"well done {n}") for n in range(60)] + [("spam", f"win the cash prize {n}") for n in range(30)]
    pd.DataFrame(rows, columns=["label", "text"]).to_csv(folder / "m.csv", index=False)
    augment = {"token_dropout": 0.1, "span_dropout": 0.1, "swap": 0.1}
    return {"source": "file:m.csv", "target": "label", "text": "text", "augment": augment}


def _columns() -> list[str]:
    return ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
