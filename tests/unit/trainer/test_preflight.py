"""The preflight: every corner of the space against the real data, each problem once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.trainer.conftest import CPU
from trainer import preflight
from trainer.config import TrainConfig
from trainer.data.prepare import prepare_for
from trainer.errors import Problem


def corner(source: str = "sklearn:iris", **sections: Any) -> TrainConfig:
    data = {"source": source} | sections.pop("data", {})
    return TrainConfig.model_validate({"data": data, "batch_size": 16} | sections)


def check(*configs: TrainConfig, metric: str = "val/loss", ranks: int = 1) -> tuple[list[Problem], dict[str, Any]]:
    return preflight.check(configs, wanted={"objective.metric": metric}, data_folders=(), device=CPU, ranks=ranks)


def test_a_space_that_fits_its_data_has_no_problems_and_says_what_was_found() -> None:
    problems, facts = check(corner(model={"hidden": [8]}), corner(model={"hidden": [16, 8]}))

    assert problems == []
    assert (facts["task"], facts["rows"]) == ("classification", {"train": 90, "validation": 30, "test": 30})
    # 4 columns, 3 classes: 4*8+8 + 8*3+3 = 67, and 4*16+16 + 16*8+8 + 8*3+3 = 243
    assert facts["parameters"] == {"least": 67, "most": 243}


def test_a_model_of_any_size_costs_no_memory_to_look_at() -> None:
    _, facts = check(corner(model={"hidden": [65_536] * 8}))

    assert facts["parameters"]["most"] > 30_000_000_000


@pytest.mark.parametrize(
    ("config", "metric", "path", "message", "hint"),
    [
        (corner("sklearn:diabetes"), "val/accuracy", "objective.metric", "no val/accuracy", "val/mae, val/r2"),
        (corner(), "val/rmse", "objective.metric", "a classification reports no val/rmse", "val/balanced_accuracy"),
        (
            corner("sklearn:diabetes", early_stopping={"metric": "val/accuracy"}), "val/loss",
            "trial.early_stopping.metric", "a regression reports no val/accuracy", "val/rmse",
        ),
        (
            corner("sklearn:diabetes", regularization={"label_smoothing": 0.1}), "val/loss",
            "trial.regularization.label_smoothing", "no labels to smooth", "set it to 0",
        ),
        (
            corner("sklearn:diabetes", data={"class_weight": "balanced"}), "val/loss",
            "trial.data.class_weight", "no classes to weigh", "set it to none",
        ),
        (corner(batch_size=91), "val/loss", "trial.batch_size", "larger than the training part of 90", "at most 90"),
        (
            corner(batch_size=1, model={"norm": "batch"}), "val/loss",
            "trial.batch_size", "needs batches of 2 rows and more", "at least 2",
        ),
        (corner(data={"target": "targt"}), "val/loss", "trial.data.target", "no column 'targt'", "'target'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_found_with_the_place_and_the_cure(
    config: TrainConfig, metric: str, path: str, message: str, hint: str
) -> None:
    problems, _ = check(config, metric=metric)

    assert [problem.path for problem in problems] == [path]
    assert message in problems[0].message
    assert hint in problems[0].hint


def test_a_table_smaller_than_the_batch_that_nobody_chose_is_no_problem() -> None:
    nobodys = TrainConfig.model_validate({"data": {"source": "sklearn:iris"}, "model": {"norm": "batch"}})

    assert nobodys.batch_size == 128  # of 90 rows
    assert check(nobodys, ranks=45)[0] == []  # 2 rows for each process


def test_a_table_too_small_for_batch_normalization_by_all_processes_is_found() -> None:
    nobodys = TrainConfig.model_validate({"data": {"source": "sklearn:iris"}, "model": {"norm": "batch"}})

    [problem] = check(nobodys, ranks=46)[0]

    message = "batch normalization needs 92 rows, 2 for each process, and the training part has 90"
    assert (problem.path, problem.message, problem.hint) == ("trial.model.norm", message, "set it to none or layer")


def test_a_problem_of_many_corners_is_told_once_and_those_of_different_corners_all() -> None:
    problems, _ = check(
        corner(batch_size=1000), corner(batch_size=1000, optimizer={"lr": 1.0}), corner(batch_size=2000), corner()
    )

    assert [problem.message.split(" is ")[0] for problem in problems] == ["a batch of 1000", "a batch of 2000"]


def test_data_that_differ_between_corners_are_each_prepared_and_bad_ones_do_not_hide_the_others() -> None:
    problems, facts = check(corner("file:none.csv"), corner(batch_size=1000), corner("dataset:nope"))

    assert [problem.path for problem in problems] == ["trial.data.source", "trial.batch_size", "trial.data.source"]
    assert facts["task"] == "classification"


def test_the_data_are_prepared_once_for_all_corners_that_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, real = [], prepare_for

    def counting(config: TrainConfig, **more: Any) -> Any:
        prepared.append(config.data)
        return real(config, **more)

    monkeypatch.setattr(preflight, "prepare_for", counting)

    check(corner(), corner(batch_size=8), corner(data={"normalize": "minmax"}), corner(optimizer={"lr": 0.5}))

    assert [data.normalize for data in prepared] == ["standard", "minmax"]
