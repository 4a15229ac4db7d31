"""Slots on GPUs, with a driver that says what a test wants it to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.messages import Finish, Take
from tests.integration.pools import objective, running_pool
from tests.integration.scripted_scheduler import ScriptedScheduler
from tests.services import redis_server

# Stands in for nvidia-ml-py in the supervisor's process.
DRIVER = """
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetHandleByUUID(uuid): raise NVMLError("a driver without figures")
def nvmlDeviceGetUUID(handle): return f"GPU-{handle}1234567-89ab-cdef"
def nvmlDeviceGetName(handle): return "Test GPU"
"""


def test_a_gpu_slot_sees_its_own_gpu_alone_and_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text(DRIVER)
    with (
        redis_server(tmp_path) as url,
        ScriptedScheduler(url, gpus=1) as scheduler,
        running_pool(tmp_path, url, cpu_slots=0, gpus="1") as pool,
    ):
        worker = pool.worker()
        scheduler.assign(objective("surroundings", number=1))
        finish = scheduler.await_request(Finish)

        assert "torch=False visible=GPU-11234567-89ab-cdef" in pool.log(finish.attempt)
        assert worker["gpus"] == "1"
        assert "-11234567-" in worker["name"]
        assert scheduler.seen(Take)[0].device == worker["device"] == "Test GPU GPU-11234567-89ab-cdef"


def test_a_group_of_gpus_takes_the_jobs_that_want_as_many_and_shows_them_all_to_the_trial(tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text(DRIVER)
    with (
        redis_server(tmp_path) as url,
        ScriptedScheduler(url, gpus=2) as scheduler,
        running_pool(tmp_path, url, cpu_slots=0, gpus="all", group_sizes=[2]) as pool,
    ):
        worker = pool.worker()
        scheduler.assign(objective("surroundings", number=1))
        finish = scheduler.await_request(Finish)

        assert "visible=GPU-01234567-89ab-cdef,GPU-11234567-89ab-cdef" in pool.log(finish.attempt)
        assert worker["gpus"] == "2"
        assert worker["device"].startswith("2 x Test GPU GPU-0")


@pytest.mark.parametrize(("gpus", "is_said"), [("all", True), (None, False), ("none", False)])
def test_who_asks_for_gpus_is_told_that_there_are_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], gpus: str | None, is_said: bool
) -> None:
    (tmp_path / "pynvml.py").write_text(DRIVER.replace("return 2", "return 0"))
    with redis_server(tmp_path) as url, running_pool(tmp_path, url, gpus=gpus) as pool:
        assert pool.worker()["gpus"] == "0"  # the processor serves in any case

    assert ("no GPU was found" in capfd.readouterr().err) == is_said
