from pathlib import Path
from typing import Any

import pytest

from store.artifacts import Artifacts
from store.messages import Assignment, AttemptKey, DecisionName
from trainer.errors import DataError, ModelError
from worker.ending import CrowdedOut, OutOfDeviceMemory, outcome_of
from worker.library import Library
from worker.training import KEPT_DATA_SETS, Training


class Quiet:
    """A reporter that lets everything go on."""

    def report(self, _epoch: int, _metrics: object) -> DecisionName:
        return "continue"

    def log(self, _line: str) -> None:
        pass


@pytest.fixture
def training(tmp_path: Path) -> Training:
    rows = "".join(f"{x},{'high' if x >= 20 else 'low'}\n" for x in range(40))
    (tmp_path / "rows.csv").write_text("x,level\n" + rows)
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    return Training(artifacts, Library(artifacts, (tmp_path,), tmp_path / "datasets"), "cpu")


def assignment(study_id: int, **data: Any) -> Assignment:
    return Assignment(
        attempt=AttemptKey(study_id, 0, 1),
        study="study",
        parameters={},
        trial={"kind": "train", "data": {"source": "file:rows.csv"} | data, "model": {"hidden": [4]}, "epochs": 1},
        metric="val/accuracy",
        direction="maximize",
    )


def run(training: Training, trial: Assignment) -> str:
    return training.run(trial, Quiet(), should_leave=lambda: False).outcome  # type: ignore[arg-type]


def test_the_data_is_read_once_a_study_and_anew_for_another(training: Training, tmp_path: Path) -> None:
    run(training, assignment(study_id=1))
    (tmp_path / "rows.csv").unlink()

    assert run(training, assignment(study_id=1)) == "finished"
    with pytest.raises(DataError, match=r"rows\.csv"):
        run(training, assignment(study_id=2))


def test_only_so_many_data_sets_are_kept(training: Training, tmp_path: Path) -> None:
    # The first is used again before the last, so that the second is the one that was not used for the longest time.
    for seed in [*range(KEPT_DATA_SETS), 0, KEPT_DATA_SETS]:
        run(training, assignment(study_id=1, split={"seed": seed}))
    (tmp_path / "rows.csv").unlink()

    run(training, assignment(study_id=1, split={"seed": 0}))
    with pytest.raises(DataError):
        run(training, assignment(study_id=1, split={"seed": 1}))


def test_a_full_device_is_told_in_a_sentence_and_emptied(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def fit(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    monkeypatch.setattr("trainer.fit.fit", fit)

    with pytest.raises(OutOfDeviceMemory, match=r"out of device memory: CUDA out of memory\. Tried to allocate 80 GiB"):
        run(training, assignment(study_id=1))
    monkeypatch.undo()
    assert run(training, assignment(study_id=1)) == "finished"


def test_a_trial_without_room_beside_its_neighbours_is_tried_again_where_slots_are_counted(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def fit(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "_is_crowd", True)
    monkeypatch.setattr("trainer.fit.fit", fit)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 10)
    free = [20]  # of 100, so that neighbours hold 70
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free[0], 100))

    with pytest.raises(CrowdedOut, match="70% of which its neighbours hold") as crowded:
        run(training, assignment(study_id=1))
    assert outcome_of(crowded.value) == "lost"
    free[0] = 85  # alone but for 5, it is its own fault
    with pytest.raises(OutOfDeviceMemory):
        run(training, assignment(study_id=1))


def test_slots_that_share_a_gpu_take_no_more_than_their_share_of_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", shares.append)
    for share in (0.25, 1.0):
        on_gpu = Training(
            Artifacts(str(tmp_path)), Library(Artifacts(str(tmp_path)), (), tmp_path), "cuda", device_share=share
        )
        for _ in range(2):
            with pytest.raises(Exception):  # noqa: B017, PT011 - the machine of this test may have no GPU
                run(on_gpu, assignment(study_id=1))

    assert shares == [0.25]  # once a process, and not for a slot that has the GPU to itself


def test_folds_and_one_split_of_the_same_rows_are_kept_side_by_side(training: Training, tmp_path: Path) -> None:
    whole = assignment(study_id=1)
    folded = whole.model_copy(update={"trial": whole.trial | {"cross_validation": {"folds": 4}}})
    run(training, whole)
    run(training, folded)
    (tmp_path / "rows.csv").unlink()

    metrics = training.run(folded, Quiet(), should_leave=lambda: False).metrics  # type: ignore[arg-type]
    assert {f"fold/{fold}/accuracy" for fold in range(1, 5)} <= metrics.keys()
    assert "fold/1/accuracy" not in training.run(whole, Quiet(), should_leave=lambda: False).metrics  # type: ignore[arg-type]


def test_a_trial_begins_with_the_model_that_another_study_has_left(training: Training, tmp_path: Path) -> None:
    first = assignment(study_id=1)
    run(training, first)
    model = {"name": "pretrained", "source": "trial:s/0"}
    second = assignment(study_id=2)
    second = second.model_copy(update={"trial": second.trial | {"model": model}})

    with pytest.raises(ModelError, match="s/0 is no complete trial"):
        run(training, second)
    fresh = Training(
        Artifacts(str(tmp_path / "artifacts")),
        Library(Artifacts(str(tmp_path / "artifacts")), (tmp_path,), tmp_path / "datasets"),
        "cpu",
    )

    assert run(fresh, second.model_copy(update={"origins": {"trial:s/0": first.attempt}})) == "finished"
