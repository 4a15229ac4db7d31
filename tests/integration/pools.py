"""Worker pools as processes of their own, and objectives for them to run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import redis

from store.artifacts import LocalFolder
from store.bus import open_redis
from store.logs import open_log
from store.messages import Assignment, AttemptKey

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 60.0  # a machine with much else to do needs that for the start of a worker

T = TypeVar("T")

OBJECTIVES = '''
import os
import sys
import time
from pathlib import Path


def square(trial):
    return {"loss": trial.parameters["x"] ** 2}


def steps(trial):
    """Reports its process until it is told to return."""
    step = 0
    while trial.report(step, {"loss": 1 / (step + 1), "pid": os.getpid()}) == "continue":
        step += 1
        time.sleep(0.01)


def crowded(trial):
    """Those that name the same folder are in each other's way: two do half of what one does."""
    own = Path(trial.parameters["folder"]) / str(os.getpid())
    own.touch()
    step, decision = 0, "continue"
    while decision == "continue":
        time.sleep(0.02 * len(list(own.parent.iterdir())) ** 2)
        step += 1
        decision = trial.report(step, {"loss": 1.0})
    own.unlink()


def one_step(trial):
    """Reports its process once and then works, as long as the file `until` is not there."""
    trial.report(0, {"loss": 1.0, "pid": os.getpid()})
    while not Path(trial.parameters["until"]).exists():
        time.sleep(0.01)
    return {"loss": 0.5}


def marks(trial):
    mark = trial.checkpoint_dir / "steps"
    first = len(mark.read_text()) if mark.exists() else 0
    for step in range(first, trial.parameters["steps"]):
        mark.write_text("x" * (step + 1))
        if trial.report(step, {"loss": 1 / (step + 1)}) != "continue":
            return None


def climbs(trial):
    """Goes up by its parameter with each step, from where it stood."""
    mark = trial.checkpoint_dir / "height"
    step, height = mark.read_text().split() if mark.exists() else (0, 0)
    step, height = int(step), float(height)
    while step < trial.parameters["steps"]:
        step, height = step + 1, height + trial.parameters["x"]
        mark.with_suffix(".new").write_text(f"{step} {height}")
        mark.with_suffix(".new").replace(mark)
        time.sleep(0.05)
        if trial.report(step, {"loss": -height}) != "continue":
            return None


def wait(trial):
    """Works in silence, as long as the file `until` is not there."""
    while not Path(trial.parameters["until"]).exists():
        time.sleep(0.01)
    return {"loss": 0.5}


def two_steps(trial):
    """The same, and a second report that nobody may be there to hear."""
    trial.report(0, {"loss": 1.0, "pid": os.getpid()})
    while not Path(trial.parameters["until"]).exists():
        time.sleep(0.01)
    trial.report(1, {"loss": 0.5})
    return {"loss": 0.25}


def greedy(trial):
    """Holds memory in a child of its own, which its slot must see too."""
    if os.fork() == 0:
        hoard = bytearray(os.urandom(2**20)) * trial.parameters["mebibytes"]
        time.sleep(60)
    time.sleep(60)


def reports_its_process(trial):
    return {"loss": 0.0, "pid": os.getpid()}


def silent(trial):
    trial.report(0, {"loss": 1.0, "pid": os.getpid()})
    time.sleep(60)


def talks(trial):
    trial.report(0, {"loss": 1.0, "pid": os.getpid()})
    while True:
        print("still here", flush=True)
        time.sleep(0.01)


def surroundings(trial):
    visible, threads = os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]
    print(f"torch={'torch' in sys.modules} visible={visible} threads={threads}")
    return {"loss": 0.0}


def broken(trial):
    print("before the fall")
    raise ValueError("x must be \\0 something else")


def leaves(trial):
    sys.exit(3)


def interrupts(trial):
    raise KeyboardInterrupt("by hand")


def closes(trial):
    os.close(1), os.close(2)
    raise ValueError("unheard")


def dies(trial):
    os._exit(3)


def forks_and_dies(trial):
    if os.fork() == 0:
        time.sleep(60)
    os._exit(4)


def not_a_number(trial):
    trial.report(1, {"loss": float("nan")})


def forgetful(trial):
    return {"accuracy": 1.0}


def reports_only(trial):
    trial.report(0, {"loss": 2.0})
    trial.report(1, {"loss": 1.0})
'''


@dataclass(frozen=True)
class RunningPool:
    """A supervisor with its slots, and what its workers say of themselves."""

    process: subprocess.Popen[bytes]
    client: redis.Redis
    folder: Path  # what lies in it can be imported by its workers
    pool: str

    def workers(self) -> list[dict[str, str]]:
        """The words of those that live: who was killed leaves them behind for a while."""
        rows = [self.client.hgetall(key) for key in self.client.keys("trialyard:worker:*")]
        told = [{name.decode(): value.decode() for name, value in row.items()} for row in rows if row]
        return [worker for worker in told if worker["pool"] == self.pool and is_alive(int(worker["pid"]))]

    def worker(self, condition: Callable[[dict[str, str]], bool] = lambda _worker: True) -> dict[str, str]:
        """The first worker that meets a condition; fails the test if none does in time."""
        return eventually(lambda: next(filter(condition, self.workers()), None))

    def log(self, key: AttemptKey) -> str:
        folder = self.folder / f"home/artifacts/studies/{key.study_id}/trials/{key.number}/attempt-{key.attempt}"
        with open_log(LocalFolder(folder)) as file:
            return file.read().decode()


@contextmanager
def running_pool(
    folder: Path,
    redis_url: str,
    environment: dict[str, str] | None = None,
    commands: str = "",
    within: Sequence[str] = (),
    pool: str = "default",
    name: str | None = None,
    **division: Any,
) -> Iterator[RunningPool]:
    """A pool of one CPU slot, unless told otherwise; whatever happens, nothing of it is left at the end.

    Args:
        commands: further tables of its objectives.toml.
        within: a command that starts it elsewhere, as in a network of its own.
        division: fields of its `Division`.
    """
    (folder / "objectives_of_tests.py").write_text(OBJECTIVES)
    names = [line[4:].split("(")[0] for line in OBJECTIVES.splitlines() if line.startswith("def ")]
    lines = ["[objectives]", *(f'{name} = "objectives_of_tests:{name}"' for name in names)]
    (folder / "objectives.toml").write_text("\n".join([*lines, commands]))
    settings = {
        "TRIALYARD_HOME_DIR": str(folder / "home"),
        "TRIALYARD_REDIS_URL": redis_url,
        "TRIALYARD_OBJECTIVES_FILE": str(folder / "objectives.toml"),
        "TRIALYARD_BEAT_SECONDS": "0.1",
        "TRIALYARD_GRACE_SECONDS": "10",
        "TRIALYARD_WARM_RUNNERS": "false",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
    arguments = json.dumps([pool, name, {"cpu_slots": 1, "gpus": "none", **division}])
    process = subprocess.Popen(
        [*within, sys.executable, "-c", _SERVE, arguments], env=os.environ | settings | (environment or {}), cwd=folder
    )
    client = open_redis(redis_url)
    try:
        yield RunningPool(process, client, folder, pool)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
        process.kill()
        process.wait()
        client.close()


_SERVE = """
import json, sys
from store.settings import Settings
from worker.division import Division
from worker.pool import Pool

pool, name, division = json.loads(sys.argv[1])
sys.exit(Pool(Settings(), pool, Division(**division), name).run())
"""


def objective(name: str, number: int = 0, attempt: int = 1, study_id: int = 7, **parameters: Any) -> Assignment:
    """A trial that calls one of the objectives above; the study's metric is its loss."""
    return Assignment(
        attempt=AttemptKey(study_id, number, attempt),
        study="study",
        parameters=parameters,
        trial={"kind": "objective", "name": name},
        metric="loss",
        direction="minimize",
    )


def eventually(look: Callable[[], T | None]) -> T:
    """What `look` finds; fails the test if it finds nothing in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
