"""Trainings on real workers: the trainer's loop, its checkpoints, its errors."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store.messages import Assignment, AttemptKey, DecisionName, Finish, Membership, Preflighted, Report
from tests.integration.pools import RunningPool, eventually, running_pool
from tests.integration.scripted_scheduler import ScriptedScheduler
from tests.services import redis_server


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def scheduler(redis_url: str) -> Iterator[ScriptedScheduler]:
    with ScriptedScheduler(redis_url) as scheduler:
        yield scheduler


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[RunningPool]:
    folder = tmp_path_factory.mktemp("pool")
    with running_pool(folder, redis_url, {"TRIALYARD_DATA_DIR": str(folder)}) as pool:
        yield pool


def training(number: int, attempt: int = 1, resumable: tuple[int, ...] = (), **trial: Any) -> Assignment:
    data = {"source": "sklearn:iris", "split": {"validation": 0.2, "test": 0.2, "seed": 0}}
    return Assignment(
        attempt=AttemptKey(7, number, attempt),
        study="study",
        parameters={},
        trial={"kind": "train", "data": data, "model": {"name": "mlp", "hidden": [8]}} | trial,
        metric="val/accuracy",
        direction="maximize",
        resumable=list(resumable),
    )


def finish_of(scheduler: ScriptedScheduler, number: int, attempt: int = 1) -> Finish:
    return scheduler.await_request(Finish, lambda finish: finish.attempt[1:] == (number, attempt))


def reports_of(scheduler: ScriptedScheduler, number: int, attempt: int = 1) -> list[Report]:
    return scheduler.seen(Report, lambda report: report.attempt[1:] == (number, attempt))


def test_a_training_reports_every_epoch_and_ends_with_its_best_and_its_test_metrics(
    pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    scheduler.assign(training(1, epochs=3))

    finish = finish_of(scheduler, 1)

    assert finish.outcome == "finished", finish.reason
    reports = reports_of(scheduler, 1)
    assert [report.step for report in reports] == [1, 2, 3]
    best = max(report.metrics["val/accuracy"] for report in reports)
    assert finish.metrics["val/accuracy"] == best
    assert "test/accuracy" in finish.metrics
    costs = {"params", "flops", "seconds", "device_memory"}
    assert all(costs <= metrics.keys() for metrics in [*(report.metrics for report in reports), finish.metrics])
    assert "epoch 3/3" in pool.log(finish.attempt)


def test_a_training_whose_runner_was_killed_goes_on_from_its_checkpoint(
    pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    long = {"epochs": 100_000, "checkpoint": {"every_seconds": 0}}
    scheduler.assign(training(2, **long))
    last = scheduler.await_request(Report, lambda report: report.attempt.number == 2 and report.step == 20)
    scheduler.decide = lambda report: "stop" if report.attempt.attempt == 2 else "continue"
    scheduler.hand_out_again(training(2, attempt=2, resumable=(1,), **long))

    os.kill(_runner_of(pool), signal.SIGKILL)

    assert finish_of(scheduler, 2).outcome == "lost"
    assert finish_of(scheduler, 2, attempt=2).outcome == "finished"
    assert reports_of(scheduler, 2, attempt=2)[0].step > last.step
    assert "resumed after epoch" in pool.log(AttemptKey(7, 2, 2))


def test_a_full_disk_of_artifacts_is_waited_for(tmp_path: Path) -> None:
    """No file of the runner may grow from its first report on, until it has said that it waits."""
    heard = tmp_path / "heard"
    heard.touch()
    within = ["bash", "-c", f'exec "$@" 2> >(cat > {heard})', "bash"]
    with (
        redis_server(tmp_path) as url,
        ScriptedScheduler(url) as scheduler,
        running_pool(tmp_path, url, within=within) as pool,
    ):

        def fills_up(report: Report) -> DecisionName:
            if report.step == 1:
                resource.prlimit(_runner_of(pool), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return "continue"

        scheduler.decide = fills_up
        scheduler.assign(training(8, epochs=3))
        eventually(lambda: "the disk of the artifacts is full; waiting for room" in heard.read_text())
        assert scheduler.seen(Finish) == []
        resource.prlimit(_runner_of(pool), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        finish = finish_of(scheduler, 8)
        assert (finish.outcome, finish.reason) == ("finished", None)
        assert [report.step for report in reports_of(scheduler, 8)] == [1, 2, 3]
    assert (tmp_path / "home/artifacts/studies/7/trials/8/attempt-1/model.safetensors").exists()


def test_a_member_of_a_population_goes_on_from_another_members_checkpoint(
    pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    """20 waits at epoch 2, 21 at epoch 1. 21 goes on from 20's with a rate of its own; 20 is finished as it stands."""
    waits = {20: 2, 21: 1}
    scheduler.decide = lambda report: "pause" if report.step == waits.get(report.attempt.number) else "continue"
    for number in list(waits):
        scheduler.assign(training(number, epochs=4).model_copy(update={"membership": Membership()}))
        assert finish_of(scheduler, number).outcome == "paused"
    waits.clear()

    copying = Membership(copies=AttemptKey(7, 20, 1), spent=[1])
    other = training(21, attempt=2, epochs=4, optimizer={"lr": 0.1})
    scheduler.assign(other.model_copy(update={"membership": copying}))
    assert finish_of(scheduler, 21, attempt=2).outcome == "finished"
    ending = training(20, attempt=2, resumable=(1,), epochs=4)
    scheduler.assign(ending.model_copy(update={"membership": Membership(ends=True)}))
    assert finish_of(scheduler, 20, attempt=2).outcome == "finished"

    assert [report.step for report in reports_of(scheduler, 21, attempt=2)] == [3, 4]
    assert "goes on from another training's epoch 2" in pool.log(AttemptKey(7, 21, 2))
    assert reports_of(scheduler, 20, attempt=2) == []
    folder = pool.folder / "home/artifacts/studies/7/trials"
    assert list((folder / "20/attempt-1").glob("checkpoint-*"))  # others may go on from it
    assert not list((folder / "21/attempt-1").glob("checkpoint-*"))


def test_a_training_that_has_to_leave_goes_on_elsewhere(
    pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path, redis_url: str
) -> None:
    same_home = {"TRIALYARD_HOME_DIR": str(pool.folder / "home")}
    never_by_itself = {"epochs": 100_000, "checkpoint": {"every_epochs": 100_000}}
    scheduler.pool = "leaving"
    with running_pool(tmp_path, redis_url, same_home, pool="leaving") as first:
        scheduler.assign(training(3, **never_by_itself))
        scheduler.await_request(Report, lambda report: report.attempt.number == 3 and report.step == 5)
        first.process.send_signal(signal.SIGTERM)
        assert finish_of(scheduler, 3).outcome == "returned"
    left_at = reports_of(scheduler, 3)[-1].step

    scheduler.pool = pool.pool
    scheduler.decide = lambda _report: "stop"
    scheduler.assign(training(3, attempt=2, resumable=(1,), **never_by_itself))
    finish_of(scheduler, 3, attempt=2)

    assert [report.step for report in reports_of(scheduler, 3, attempt=2)] == [left_at + 1]


@pytest.mark.usefixtures("pool")
def test_a_training_that_diverges_has_failed_and_the_next_one_runs(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(training(4, epochs=50, optimizer={"name": "sgd", "lr": 100.0, "momentum": 0.99}))
    finish = finish_of(scheduler, 4)

    assert finish.outcome == "diverged"
    assert finish.reason is not None
    assert finish.reason.startswith("diverged at epoch ")
    scheduler.assign(training(5, epochs=1))
    assert finish_of(scheduler, 5).outcome == "finished"


@pytest.mark.usefixtures("pool")
def test_data_that_is_not_there_fails_the_preflight_with_its_path(scheduler: ScriptedScheduler) -> None:
    scheduler.preflight(8, _definition("file:nowhere.csv"))
    refused = scheduler.await_request(Preflighted, lambda answer: answer.study_id == 8)
    scheduler.preflight(9, _definition("sklearn:iris"))
    accepted = scheduler.await_request(Preflighted, lambda answer: answer.study_id == 9)

    assert refused.problems[0]["path"] == "trial.data.source"
    assert "nowhere.csv" in refused.problems[0]["message"]
    assert accepted.problems == []
    assert accepted.facts["task"] == "classification"


def test_a_runner_imports_torch_before_there_is_anything_to_train(tmp_path: Path, redis_url: str) -> None:
    with running_pool(tmp_path, redis_url, {"TRIALYARD_WARM_RUNNERS": "true"}) as pool:
        runner = eventually(lambda: pool.worker() and _runner_of(pool))
        eventually(lambda: "libtorch" in Path(f"/proc/{runner}/maps").read_text())


def _runner_of(pool: RunningPool) -> int:
    """The one child of the one slot."""
    slot = pool.worker()["pid"]
    return int(Path(f"/proc/{slot}/task/{slot}/children").read_text())


def _definition(source: str) -> dict[str, Any]:
    return {
        "name": "study",
        "objective": {"metric": "val/accuracy", "direction": "maximize"},
        "parameters": {"optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}},
        "budget": {"trials": 1},
        "trial": {"kind": "train", "data": {"source": source}, "batch_size": 16, "epochs": 1},
    }
