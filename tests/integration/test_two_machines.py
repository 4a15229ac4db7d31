"""Two machines with addresses of their own, as network namespaces; one of them is cut off, and comes back."""

from __future__ import annotations

import contextlib
import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from store.bus import REFUSED_KEY, open_redis
from store.models import AttemptRow, StudyRow, TrialRow
from store.session import connect
from store.settings import Settings
from tests.api_server import scheduling
from tests.chaos.campaign import submit
from tests.integration.pools import eventually, running_pool
from tests.services import find_binary

LEASE_SECONDS = 2.0


class Machine:
    """A network namespace, joined to this one by a cable."""

    def __init__(self, number: int) -> None:
        tag = f"{random.randrange(16**5):05x}"
        self.name, self._here, there = f"yard-{tag}", f"yh{tag}", f"yt{tag}"
        network = f"10.{random.randrange(100, 250)}.{10 * random.randrange(1, 24) + number}"
        self.gateway = f"{network}.1"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._here, "type", "veth", "peer", "name", there, "netns", self.name)
        _ip("addr", "add", f"{self.gateway}/24", "dev", self._here)
        _ip("link", "set", self._here, "up")
        for command in (["addr", "add", f"{network}.2/24", "dev", there], ["link", "set", there, "up"]):
            _ip("-n", self.name, *command)
        self.within = ["ip", "netns", "exec", self.name]

    def pull_the_cable(self) -> None:
        _ip("link", "set", self._here, "down")

    def plug_it_in(self) -> None:
        _ip("link", "set", self._here, "up")

    def remove(self) -> None:
        _ip("netns", "del", self.name)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_machine_that_was_cut_off_is_refused_when_it_comes_back_and_works_on(
    tmp_path: Path, machines: tuple[Machine, Machine], database_url: str
) -> None:
    settings = Settings(
        home_dir=tmp_path, database_url=database_url, redis_url=f"unix://{tmp_path}/s", lease_seconds=LEASE_SECONDS,
        idle_seconds=0.2,
    )  # fmt: skip
    go = tmp_path / "go"
    environment = {"TRIALYARD_LEASE_SECONDS": str(LEASE_SECONDS)}
    with ExitStack() as stack:
        client = stack.enter_context(open_redis(settings.redis_url))
        stack.enter_context(redis_for(machines, tmp_path, client))
        engine = connect(settings.database)
        stack.callback(engine.dispose)
        stack.enter_context(scheduling(settings, engine))
        for letter, machine in zip("ab", machines, strict=True):
            (tmp_path / letter).mkdir()
            url = f"redis://{machine.gateway}:6399"
            pool = running_pool(tmp_path / letter, url, environment, within=machine.within, name=letter)
            stack.enter_context(pool)
        eventually(lambda: len(client.keys("trialyard:worker:*")) == 2)
        submit(engine, study(go))
        eventually(lambda: workers_of(engine) == ["a", "b"])  # each of them has a trial in hand

        machines[1].pull_the_cable()
        [lost] = eventually(lambda: lost_of(engine, "b"))
        go.touch()
        eventually(lambda: state_of(engine) == "COMPLETE")
        machines[1].plug_it_in()

        eventually(lambda: int(client.get(REFUSED_KEY) or 0))  # type: ignore[arg-type]
        with Session(engine) as session:
            attempts = session.scalars(select(AttemptRow).where(AttemptRow.number == lost)).all()
            values = session.scalars(select(TrialRow.values)).all()
        assert [(each.worker[0], each.outcome) for each in attempts] == [("b", "lost"), ("a", "finished")]
        assert values == [{"loss": 0.5}] * 2
        eventually(lambda: len(client.keys("trialyard:worker:b-*")) == 1)
        submit(engine, study(go) | {"name": "afterwards"})
        eventually(lambda: state_of(engine, "afterwards") == "COMPLETE")


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    made: list[Machine] = []
    try:
        made = [Machine(1)]
        made += [Machine(2)]
    except (OSError, subprocess.CalledProcessError):
        for machine in made:
            machine.remove()
        pytest.skip("this user may make no network namespaces here")
    yield made[0], made[1]
    for machine in made:
        machine.remove()


@contextmanager
def redis_for(machines: tuple[Machine, Machine], folder: Path, client: redis.Redis) -> Iterator[None]:
    """A server that both machines reach, and this one through a socket."""
    addresses = [machine.gateway for machine in machines]
    options = ["--port", "6399", "--bind", *addresses, "--protected-mode", "no", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(
        [find_binary("redis-server"), *options, "--unixsocket", str(folder / "s")], stdout=subprocess.DEVNULL
    )
    try:
        eventually(lambda: _answers(client))
        yield
    finally:
        process.kill()
        process.wait()


def study(go: Path) -> dict[str, object]:
    return {
        "name": "shared",
        "objective": {"metric": "loss", "direction": "minimize"},
        "parameters": {"until": {"value": str(go)}, "x": {"low": 0.0, "high": 1.0}},
        "sampler": {"name": "random", "seed": 1},
        "budget": {"trials": 2, "parallel": 2},
        "trial": {"kind": "objective", "name": "wait"},
    }


def workers_of(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return sorted(worker[0] for worker in session.scalars(select(AttemptRow.worker)))


def lost_of(engine: Engine, machine: str) -> list[int]:
    """The trials that were lost on a machine."""
    lost = (AttemptRow.worker.startswith(machine), AttemptRow.outcome == "lost")
    with Session(engine) as session:
        return list(session.scalars(select(AttemptRow.number).where(*lost)))


def state_of(engine: Engine, name: str = "shared") -> str | None:
    with Session(engine) as session:
        return session.scalar(select(StudyRow.state).where(StudyRow.name == name))


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return bool(client.ping())
    return False


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
