"""Workers, their runners, their supervisor and their Redis die or are wiped in the middle of the work."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from store.messages import Finish, Gone, Report, Take
from store.queue import TrialQueue
from store.roster import drain
from tests.integration.pools import RunningPool, eventually, is_alive, objective, running_pool
from tests.integration.scripted_scheduler import ScriptedScheduler
from tests.services import RedisServer
from worker.oom import BLAME, OomWatch
from worker.scarcity import GIVE_WAY


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def scheduler(server: RedisServer) -> Iterator[ScriptedScheduler]:
    with ScriptedScheduler(server.url) as scheduler:
        yield scheduler


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Iterator[RunningPool]:
    """A pool that lives through all that is done to its workers and its Redis."""
    environment = {"TRIALYARD_LEASE_SECONDS": "2"}  # half of it a report waits for its answer before it is spooled
    with running_pool(tmp_path_factory.mktemp("pool"), server.url, environment) as pool:
        pool.worker()
        yield pool


@pytest.fixture
def own_pool(tmp_path: Path, server: RedisServer, scheduler: ScriptedScheduler) -> Iterator[RunningPool]:
    """A pool to be ended; nobody else serves its queue."""
    with running_pool(tmp_path, server.url, pool="own", name="own") as pool:
        scheduler.pool = "own"
        pool.worker()
        yield pool


def runner_of(scheduler: ScriptedScheduler, number: int) -> int:
    """The process that runs a trial, by the trial's own word."""
    report = scheduler.await_request(Report, lambda report: report.attempt.number == number)
    return int(report.metrics["pid"])


def finish_of(scheduler: ScriptedScheduler, number: int, attempt: int = 1) -> Finish:
    return scheduler.await_request(Finish, lambda finish: finish.attempt[1:] == (number, attempt))


@pytest.mark.usefixtures("pool")
def test_a_killed_runner_is_reported_at_once_and_the_next_job_runs(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("silent", number=1))
    runner = runner_of(scheduler, 1)

    killed_at = time.monotonic()
    os.kill(runner, signal.SIGKILL)
    finish = finish_of(scheduler, 1)

    # Nobody ran out of memory, which the kernel's count tells wherever there is one.
    verdict = OomWatch().verdict()
    assert (finish.outcome, finish.reason) == ("lost", f"runner killed by signal 9 (SIGKILL), {verdict}")
    assert time.monotonic() - killed_at < 2.0  # the lease is 8 s
    scheduler.assign(objective("square", number=2, x=2.0))
    assert finish_of(scheduler, 2).metrics == {"loss": 4.0}


@pytest.mark.parametrize(("name", "reason"), [("dies", "exit code 3"), ("forks_and_dies", "exit code 4")])
@pytest.mark.usefixtures("pool")
def test_a_trial_that_takes_its_runner_along_is_lost(scheduler: ScriptedScheduler, name: str, reason: str) -> None:
    scheduler.assign(objective(name, number=1))

    finish = finish_of(scheduler, 1)

    assert (finish.outcome, finish.reason) == ("lost", f"runner ended with {reason}")


@pytest.mark.usefixtures("pool")
def test_a_trial_that_cannot_print_as_the_disk_is_full_is_lost_and_has_not_failed(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("talks", number=1))

    resource.prlimit(runner_of(scheduler, 1), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    assert finish_of(scheduler, 1).outcome == "lost"


@pytest.mark.usefixtures("pool")
def test_after_a_loss_the_same_job_is_asked_for_again(scheduler: ScriptedScheduler, tmp_path: Path) -> None:
    scheduler.assign(objective("silent", number=1))
    runner = runner_of(scheduler, 1)
    scheduler.hand_out_again(objective("square", number=1, attempt=2, x=3.0))

    os.kill(runner, signal.SIGKILL)

    assert finish_of(scheduler, 1, attempt=2).metrics == {"loss": 9.0}
    assert len(scheduler.seen(Take)) == 2


def test_a_killed_slot_takes_its_runner_along_and_another_slot_is_started(
    pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    first = pool.worker()
    scheduler.assign(objective("silent", number=1))
    runner = runner_of(scheduler, 1)

    os.kill(int(first["pid"]), signal.SIGKILL)

    eventually(lambda: not is_alive(runner))
    second = pool.worker(lambda worker: worker["name"] != first["name"])
    scheduler.assign(objective("square", number=2, x=1.0))
    assert finish_of(scheduler, 2).sender == second["name"]
    gone = scheduler.await_request(Gone)
    assert gone.worker == first["name"]
    assert gone.reason.startswith("its slot's process was killed by signal 9 (SIGKILL), ")


def test_an_end_that_nobody_heard_is_delivered_although_redis_was_away_and_the_slot_was_killed(
    pool: RunningPool, scheduler: ScriptedScheduler, server: RedisServer, tmp_path: Path
) -> None:
    first = pool.worker()
    scheduler.assign(objective("two_steps", number=1, until=str(tmp_path / "go")))
    runner = runner_of(scheduler, 1)
    spool = pool.folder / "home/spool" / socket.gethostname() / first["name"] / "7.1.1.jsonl"

    server.stop()
    (tmp_path / "go").touch()
    eventually(lambda: spool.exists() and b'"finish"' in spool.read_bytes())  # it went on, and came to its end
    os.kill(int(first["pid"]), signal.SIGKILL)
    eventually(lambda: not is_alive(runner))
    server.start()

    assert finish_of(scheduler, 1).metrics["loss"] == 0.25  # beside what only earlier reports had
    gone = scheduler.await_request(Gone, lambda gone: gone.worker == first["name"])
    told = [request for request in scheduler.requests if getattr(request, "attempt", (0, 0))[1] == 1] + [gone]
    assert told == sorted(told, key=scheduler.requests.index)  # the end comes before the word of the death
    assert {each.step: each.metrics["loss"] for each in scheduler.seen(Report)} == {0: 1.0, 1: 0.5}
    eventually(lambda: not spool.exists())


def test_a_killed_supervisor_leaves_nothing_behind(own_pool: RunningPool, scheduler: ScriptedScheduler) -> None:
    worker = own_pool.worker()
    scheduler.assign(objective("steps", number=1))
    runner = runner_of(scheduler, 1)

    own_pool.process.kill()

    assert finish_of(scheduler, 1).outcome == "returned"
    eventually(lambda: not is_alive(runner) and not is_alive(int(worker["pid"])))


def test_a_slot_that_is_told_to_leave_gives_its_trial_back_and_goes(
    own_pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    scheduler.assign(objective("steps", number=1))
    runner_of(scheduler, 1)

    own_pool.process.send_signal(signal.SIGTERM)

    assert finish_of(scheduler, 1).outcome == "returned"
    assert own_pool.process.wait(10) == 0
    assert own_pool.client.keys("trialyard:worker:*own*") == []


def test_a_drained_slot_finishes_its_trial_and_is_not_started_again(
    own_pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path
) -> None:
    worker = own_pool.worker()
    scheduler.assign(objective("one_step", number=1, until=str(tmp_path / "go")))
    runner_of(scheduler, 1)
    scheduler.to_pull.append(objective("square", number=2, x=1.0))

    assert drain(own_pool.client, "own", own_pool.workers()) == [worker["name"]]
    eventually(lambda: own_pool.workers()[0]["state"] == "draining")
    (tmp_path / "go").touch()

    assert (finish_of(scheduler, 1).outcome, finish_of(scheduler, 1).pull) == ("finished", False)
    assert own_pool.process.wait(10) == 0  # it was the last slot
    assert own_pool.workers() == []


def test_an_idle_slot_that_is_drained_leaves_at_once_and_alone(
    tmp_path: Path, server: RedisServer, scheduler: ScriptedScheduler
) -> None:
    with running_pool(tmp_path, server.url, pool="own", name="own", cpu_slots=2) as pool:
        eventually(lambda: len(pool.workers()) == 2)
        leaver, stayer = pool.workers()

        assert drain(pool.client, leaver["name"], pool.workers()) == [leaver["name"]]

        eventually(lambda: not is_alive(int(leaver["pid"])))
        scheduler.pool = "own"
        scheduler.assign(objective("square", number=1, x=1.0))
        assert finish_of(scheduler, 1).sender == stayer["name"]
        assert [worker["name"] for worker in pool.workers()] == [stayer["name"]]
        assert pool.process.poll() is None


def test_a_trial_that_uses_more_memory_than_its_slot_has_fails_with_a_sentence(
    tmp_path: Path, server: RedisServer, scheduler: ScriptedScheduler
) -> None:
    limit = 300 * 2**20
    with running_pool(tmp_path, server.url, pool="own", name="own", memory_per_slot=limit) as pool:
        scheduler.pool = "own"
        scheduler.assign(objective("greedy", number=1, mebibytes=400))

        finish = finish_of(scheduler, 1)

        assert finish.outcome == "failed"
        assert re.fullmatch(r"it used [3-6]\d\d\.\dMiB of memory, and its slot has 300\.0MiB .*", finish.reason or "")
        scheduler.assign(objective("square", number=2, x=2.0))
        assert finish_of(scheduler, 2).metrics == {"loss": 4.0}
        assert pool.worker()["memory"] == str(limit)


def test_a_trial_that_gives_way_when_the_machines_memory_runs_out_is_lost_with_a_sentence(
    pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    scheduler.assign(objective("silent", number=1))
    runner = runner_of(scheduler, 1)
    assert int(Path(f"/proc/{runner}/oom_score_adj").read_text()) >= BLAME  # should the kernel be faster

    os.kill(int(pool.worker()["pid"]), GIVE_WAY)

    finish = finish_of(scheduler, 1)
    sentence = r"the machine had hardly any memory left, and this slot used the most, [\d.]+MiB; its share is [\d.]+GiB"
    assert finish.outcome == "lost"
    assert re.fullmatch(sentence, finish.reason or "")
    scheduler.assign(objective("square", number=2, x=2.0))
    assert finish_of(scheduler, 2).metrics == {"loss": 4.0}


def test_a_runner_is_replaced_after_so_many_trials(
    tmp_path: Path, server: RedisServer, scheduler: ScriptedScheduler
) -> None:
    with running_pool(tmp_path, server.url, {"TRIALYARD_RUNNER_TRIALS": "2"}, pool="own", name="own"):
        scheduler.pool = "own"
        runners = []
        for number in range(3):
            scheduler.assign(objective("reports_its_process", number=number))
            runners.append(finish_of(scheduler, number).metrics["pid"])

    assert runners[0] == runners[1] != runners[2]
    assert all(finish.outcome == "finished" for finish in scheduler.seen(Finish))


def test_an_idle_pool_leaves_at_once(own_pool: RunningPool) -> None:
    asked_at = time.monotonic()
    own_pool.process.send_signal(signal.SIGINT)

    assert own_pool.process.wait(10) == 0
    assert time.monotonic() - asked_at < 3.0
    assert own_pool.client.keys("trialyard:worker:*own*") == []


def test_a_trial_that_does_not_listen_is_given_back_before_the_grace_is_over(
    tmp_path: Path, server: RedisServer, scheduler: ScriptedScheduler
) -> None:
    with running_pool(tmp_path, server.url, {"TRIALYARD_GRACE_SECONDS": "2"}, pool="own", name="own") as pool:
        scheduler.pool = "own"
        scheduler.assign(objective("silent", number=1))
        runner_of(scheduler, 1)

        pool.process.send_signal(signal.SIGTERM)

        assert finish_of(scheduler, 1).outcome == "returned"


def test_nothing_is_left_of_a_pool_whose_supervisor_and_redis_are_both_gone(
    tmp_path: Path, server: RedisServer, scheduler: ScriptedScheduler
) -> None:
    with running_pool(tmp_path, server.url, {"TRIALYARD_GRACE_SECONDS": "2"}, pool="own", name="own") as pool:
        scheduler.pool = "own"
        scheduler.assign(objective("steps", number=1))
        runner = runner_of(scheduler, 1)
        slot = int(pool.worker()["pid"])
        server.stop()
        try:
            pool.process.kill()
            eventually(lambda: not is_alive(runner) and not is_alive(slot))
            assert pool.process.wait(5) == -signal.SIGKILL
        finally:
            server.start()


def test_an_idle_worker_survives_a_wipe_of_redis(pool: RunningPool, scheduler: ScriptedScheduler) -> None:
    name = pool.worker()["name"]

    pool.client.flushall()

    pool.worker(lambda worker: worker["name"] == name)  # it has signed on again
    scheduler.assign(objective("square", number=1, x=1.0))
    assert finish_of(scheduler, 1).sender == name
    registered = f"rq:worker:{name}".encode()
    eventually(lambda: pool.client.sismember("rq:workers", registered))  # to RQ's tools, too


def test_a_busy_worker_survives_a_wipe_of_redis(
    pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path
) -> None:
    name = pool.worker()["name"]
    scheduler.assign(objective("one_step", number=1, until=str(tmp_path / "go")))
    runner_of(scheduler, 1)

    pool.client.flushall()
    (tmp_path / "go").touch()

    finish = finish_of(scheduler, 1)
    assert (finish.outcome, finish.sender) == ("finished", name)
    scheduler.assign(objective("square", number=2, x=1.0))
    assert finish_of(scheduler, 2).sender == name


def test_a_result_arrives_after_redis_was_away(
    pool: RunningPool, scheduler: ScriptedScheduler, server: RedisServer, tmp_path: Path
) -> None:
    name = pool.worker()["name"]
    scheduler.assign(objective("one_step", number=1, until=str(tmp_path / "go")))
    runner_of(scheduler, 1)

    server.stop()
    (tmp_path / "go").touch()
    time.sleep(3.0)  # an outage has a length
    server.start()

    finish = finish_of(scheduler, 1)
    assert (finish.outcome, finish.metrics, finish.sender) == (
        "finished",
        {"loss": 0.5, "pid": finish.metrics["pid"]},
        name,
    )
    scheduler.assign(objective("square", number=2, x=1.0))
    assert finish_of(scheduler, 2).sender == name


def test_who_is_cut_off_for_longer_than_its_lease_gives_its_trial_up(
    pool: RunningPool, scheduler: ScriptedScheduler, server: RedisServer
) -> None:
    name = pool.worker()["name"]
    scheduler.assign(objective("steps", number=1))
    runner = runner_of(scheduler, 1)
    spools = pool.folder / "home" / "spool"

    server.stop()
    eventually(lambda: [file for file in spools.rglob("7.1.1.jsonl") if '"returned"' in file.read_text()])
    server.start()

    assert finish_of(scheduler, 1).outcome == "returned"
    scheduler.assign(objective("reports_its_process", number=2))
    finish = finish_of(scheduler, 2)
    assert (finish.sender, finish.metrics["pid"]) == (name, runner)  # the slot is as it was


@pytest.mark.parametrize("why", ["memory", "replica", "disk"])
def test_a_trial_goes_on_and_ends_although_redis_took_nothing_for_a_while(
    pool: RunningPool, scheduler: ScriptedScheduler, server: RedisServer, tmp_path: Path, why: str
) -> None:
    slot = pool.worker()
    scheduler.assign(objective("two_steps", number=1, until=str(tmp_path / "go")))
    runner = runner_of(scheduler, 1)

    with server.refusing(why):
        time.sleep(2.5)  # longer than RQ says nothing
        (tmp_path / "go").touch()
        time.sleep(1.0)

    finish = finish_of(scheduler, 1)
    assert (finish.outcome, finish.metrics["loss"]) == ("finished", 0.25)
    scheduler.assign(objective("reports_its_process", number=2))
    finish = finish_of(scheduler, 2)
    assert (finish.sender, finish.metrics["pid"]) == (slot["name"], runner)  # nobody has died of it


def test_an_idle_worker_survives_a_redis_that_was_away(
    pool: RunningPool, scheduler: ScriptedScheduler, server: RedisServer
) -> None:
    name = pool.worker()["name"]

    server.stop()
    server.start()

    pool.worker(lambda worker: worker["name"] == name)
    scheduler.assign(objective("square", number=1, x=1.0))
    assert finish_of(scheduler, 1).sender == name


def test_jobs_that_are_not_ours_are_passed_over(
    pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"  # is left by a module that is imported, and by a pickle that is opened
    (pool.folder / "foreign.py").write_text(f"open({str(mark)!r}, 'w').close()\ndef call(*_): pass\n")
    foreign = Queue("trials:default", connection=pool.client, serializer=JSONSerializer)
    foreign.enqueue("foreign.call", 7, 1)
    foreign.enqueue("worker.jobs.perform", 7, 1, on_success=Callback("foreign.call"))
    foreign.enqueue("worker.jobs.perform", 7, number=1)
    foreign.enqueue("worker.jobs.perform", "7")
    Queue("trials:default", connection=pool.client).enqueue("worker.jobs.perform", Marking(str(mark)))

    scheduler.assign(objective("square", number=1, x=1.0))

    finish_of(scheduler, 1)  # first come, first served: all of them have had their turn
    assert not mark.exists()
    assert [take.number for take in scheduler.seen(Take)] == [1]
    assert TrialQueue(pool.client).waiting() == set()


class Marking:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "w")
