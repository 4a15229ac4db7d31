"""Trials on real workers: what they report, what they obey, and how they end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.messages import AttemptKey, Finish, Holds, Preflighted, Report, Take
from tests.integration.pools import RunningPool, eventually, objective, running_pool
from tests.integration.scripted_scheduler import ScriptedScheduler
from tests.services import redis_server


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[RunningPool]:
    with running_pool(tmp_path_factory.mktemp("pool"), redis_url) as pool:
        yield pool


@pytest.fixture
def scheduler(redis_url: str) -> Iterator[ScriptedScheduler]:
    with ScriptedScheduler(redis_url) as scheduler:
        yield scheduler


def finish_of(scheduler: ScriptedScheduler, number: int) -> Finish:
    return scheduler.await_request(Finish, lambda finish: finish.attempt.number == number)


@pytest.mark.usefixtures("pool")
def test_a_trial_is_taken_run_and_finished(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("square", number=1, x=-3.0))

    finish = finish_of(scheduler, 1)

    assert (finish.outcome, finish.metrics) == ("finished", {"loss": 9.0})
    take = scheduler.seen(Take)[0]
    assert (take.study_id, take.number, take.device) == (7, 1, "cpu")
    assert take.worker == finish.sender


@pytest.mark.usefixtures("pool")
def test_one_job_goes_on_with_further_trials_while_it_is_young(scheduler: ScriptedScheduler) -> None:
    scheduler.to_pull += [objective("square", number=number, x=1.0) for number in (11, 12)]
    scheduler.assign(objective("square", number=10, x=1.0))

    finish_of(scheduler, 12)

    assert [finish.attempt.number for finish in scheduler.seen(Finish)] == [10, 11, 12]
    assert len(scheduler.seen(Take)) == 1


@pytest.mark.parametrize(
    ("number", "decision", "outcome"), [(20, "prune", "pruned"), (21, "pause", "paused"), (22, "stop", "finished")]
)
@pytest.mark.usefixtures("pool")
def test_a_decision_is_obeyed(scheduler: ScriptedScheduler, number: int, decision: str, outcome: str) -> None:
    scheduler.decide = lambda report: decision if report.step == 2 else "continue"  # type: ignore[return-value,assignment]
    scheduler.assign(objective("steps", number=number))

    assert finish_of(scheduler, number).outcome == outcome
    assert [report.step for report in scheduler.seen(Report)] == [0, 1, 2]


@pytest.mark.usefixtures("pool")
def test_an_attempt_that_has_ended_elsewhere_stops_at_its_next_report(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("steps", number=30))
    scheduler.await_request(Report, lambda report: report.step == 1)

    scheduler.end(AttemptKey(7, 30, 1))

    assert finish_of(scheduler, 30).outcome == "returned"  # refused as well; it only asks for the next trial


@pytest.mark.parametrize(
    ("number", "name", "reason"),
    [
        (40, "broken", "ValueError: x must be \\x00 something else"),
        (41, "leaves", "SystemExit: 3"),
        (45, "interrupts", "KeyboardInterrupt: by hand"),
        (46, "closes", "ValueError: unheard"),
        (42, "not_a_number", "loss is nan at step 1; a metric must be finite"),
        (43, "forgetful", "objective 'forgetful' must return (or report) the study's metric 'loss'; it gave accuracy"),
        (44, "unheard_of", "there is no objective 'unheard_of' on this worker"),
    ],
)
@pytest.mark.usefixtures("pool")
def test_a_trial_that_raises_has_failed_with_its_reason(
    scheduler: ScriptedScheduler, number: int, name: str, reason: str
) -> None:
    scheduler.assign(objective(name, number=number))

    finish = finish_of(scheduler, number)

    assert (finish.outcome, finish.reason) == ("diverged" if name == "not_a_number" else "failed", reason)


@pytest.mark.usefixtures("pool")
def test_the_last_report_counts_when_nothing_is_returned(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("reports_only", number=50))

    assert finish_of(scheduler, 50).metrics == {"loss": 1.0}


def test_what_a_trial_prints_and_its_traceback_are_in_its_log(pool: RunningPool, scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("broken", number=60))
    finish = finish_of(scheduler, 60)

    log = pool.log(finish.attempt)

    assert log.startswith("before the fall\nTraceback")
    assert "ValueError: x must be" in log


def test_a_slot_without_a_gpu_sees_none_and_has_its_share_of_the_cores(
    pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    scheduler.assign(objective("surroundings", number=65))
    finish = finish_of(scheduler, 65)

    # One slot: all the cores are its own.
    assert f"torch=False visible= threads={len(os.sched_getaffinity(0))}\n" in pool.log(finish.attempt)


def test_a_preflight_names_the_objectives_that_there_are(pool: RunningPool, scheduler: ScriptedScheduler) -> None:
    scheduler.preflight(8, _definition("unheard_of"))
    refused = scheduler.await_request(Preflighted, lambda answer: answer.study_id == 8)
    scheduler.preflight(9, _definition("square"))
    accepted = scheduler.await_request(Preflighted, lambda answer: answer.study_id == 9)

    [problem] = refused.problems
    assert (problem["path"], problem["message"]) == ("trial.name", "there is no objective 'unheard_of' on this worker")
    assert "square" in problem["hint"]
    assert accepted.problems == []


def test_a_preflight_that_nobody_waits_for_any_more_frees_its_slot(
    tmp_path: Path, redis_url: str, scheduler: ScriptedScheduler
) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "endless.py").write_text(f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(600)")
    with running_pool(tmp_path, redis_url, commands='endless = "endless:objective"', pool="own", name="own"):
        scheduler.pool = "own"
        scheduler.preflight(8, _definition("endless"))
        eventually(begun.exists)
        eventually(lambda: scheduler.seen(Take, lambda take: take.sender.endswith(".slot")))
        assert not scheduler.seen(Preflighted)  # it is still wanted, and goes on

        scheduler.cancel_preflight(8)
        scheduler.assign(objective("square", number=1, x=2.0))

        assert finish_of(scheduler, 1).metrics == {"loss": 4.0}
        assert not scheduler.seen(Preflighted)


def test_a_silent_trial_that_nobody_waits_for_any_more_frees_its_slot(
    tmp_path: Path, redis_url: str, scheduler: ScriptedScheduler
) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "mute.py").write_text(
        f"import pathlib, time\ndef run(trial):\n    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(600)"
    )
    with running_pool(tmp_path, redis_url, commands='mute = "mute:run"', pool="mute", name="mute"):
        scheduler.pool = "mute"
        trial = objective("mute", number=60)
        scheduler.assign(trial)
        eventually(begun.exists)
        eventually(lambda: len(scheduler.seen(Holds)) > 1)  # it is still wanted, and goes on
        assert not scheduler.seen(Finish)

        scheduler.end(trial.attempt)
        scheduler.assign(objective("square", number=61, x=2.0))

        assert finish_of(scheduler, 61).metrics == {"loss": 4.0}
        assert [finish.attempt.number for finish in scheduler.seen(Finish)] == [61]


def test_a_worker_says_what_it_is_and_what_it_does(
    pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path
) -> None:
    scheduler.assign(objective("one_step", number=70, until=str(tmp_path / "go")))

    busy = pool.worker(lambda worker: worker["attempt"] == "1" and worker["trial"] == "70")
    (tmp_path / "go").touch()
    finish_of(scheduler, 70)
    idle = pool.worker(lambda worker: worker["state"] == "idle")

    assert (busy["state"], busy["study"], busy["pool"], busy["device"], busy["gpus"]) == (
        "busy",
        "7",
        "default",
        "cpu",
        "0",
    )
    assert (idle["study"], idle["trial"], idle["attempt"]) == ("", "", "")
    assert int(idle["beat"]) > int(busy["beat"])
    assert int(idle["done"]) > int(busy["done"])


def _definition(name: str) -> dict[str, object]:
    return {
        "name": "study",
        "objective": {"metric": "loss", "direction": "minimize"},
        "parameters": {"x": {"low": -1.0, "high": 1.0}},
        "budget": {"trials": 1},
        "trial": {"kind": "objective", "name": name},
    }
