"""How many slots a device gets: the climb by figures made up by hand, and what of the slots' words is a figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.worker.test_gpu import GPUS
from worker.climb import Climb, Look
from worker.crowd import Crowd
from worker.division import Division
from worker.mps import mps_folder
from worker.places import MOST_ON_GPU, Place, most_slots

GIB = 2**30
SECONDS = 10.0


@pytest.mark.parametrize(
    ("rates", "wanted", "why"),
    [
        # One more is kept as long as it brings a tenth: 190 is 90 % more than 100, 205 is 8 % more than 190.
        ([100, 190, 205], 2, "3 slots did only 8% more than 2 slots"),
        ([100, 95], 1, "2 slots did 5% less than 1 slot"),
        ([100, 200, 300, 400], 4, "4 slots are the most that are tried"),
        ([100, 110], 3, None),  # just enough: on to the next
        ([0, 50], 3, None),
    ],
)
def test_a_slot_is_added_as_long_as_it_raises_what_all_do_together(
    rates: list[float], wanted: int, why: str | None
) -> None:
    climb = Climb(most=4)
    for rate in rates:
        climb.take(Look(rate))

    assert (climb.wanted, climb.why) == (wanted, why)
    assert climb.rates == dict(enumerate(rates, start=1))


def test_a_slot_that_would_not_fit_into_memory_is_not_tried() -> None:
    climb = Climb(most=8)
    climb.take(Look(100, memory_used=30 * GIB, memory=80 * GIB))  # two would hold 60
    assert climb.wanted == 2
    climb.take(Look(200, memory_used=60 * GIB, memory=80 * GIB))  # three would hold 90, and 72 is the limit

    assert (climb.wanted, climb.why) == (2, "one more would not fit: 2 slots hold 75% of its memory")


def test_a_trial_without_memory_beside_its_neighbours_takes_a_slot_away_for_good() -> None:
    climb = Climb(most=8)
    climb.take(Look(100))
    climb.crowd_out()
    climb.take(Look(1000))

    assert (climb.wanted, climb.why) == (1, "a trial found no memory beside 1 slot")


class Device:
    """A device whose slots do so many rows a second together, by their number; what they say of themselves."""

    def __init__(self, crowd: Crowd, rates: dict[int, int]) -> None:
        self.crowd, self.rates = crowd, rates
        self.slots = 1
        self.leaving = 0
        self.now = 0.0
        self.study = "7"
        self._rows: dict[str, float] = {}

    def tell(self, **of_last: str) -> list[dict[str, str]]:
        names = [f"s{index}" for index in range(self.slots)]
        told = [
            {"name": name, "state": "busy", "study": self.study, "rows": str(int(self._rows.get(name, 0)))}
            | {"steps": str(int(self._rows.get(name, 0)) // 10)}
            for name in names
        ]
        told[-1] |= of_last
        return told

    def run(self, seconds: int, **of_last: str) -> int:
        for _ in range(seconds):
            self.now += 1
            for index in range(self.slots):
                name = f"s{index}"
                self._rows[name] = self._rows.get(name, 0) + self.rates[self.slots] / self.slots
            self.slots = self.crowd.observe(self.tell(**of_last), self.now, self.leaving)
        return self.slots


def device(rates: dict[int, int]) -> Device:
    return Device(Crowd(Place("cpu", 1, memory=GIB, crowd="cpu"), most=8, seconds=SECONDS), rates)


def test_a_device_comes_to_the_number_of_slots_that_do_the_most() -> None:
    made_up = device({1: 100, 2: 180, 3: 240, 4: 250})
    made_up.run(80)

    assert made_up.slots == 3
    assert made_up.crowd.picture() == {
        "study": "7",
        "wanted": 3,
        "rates": [{"slots": n, "rate": pytest.approx(r, rel=0.02)} for n, r in made_up.rates.items()],
        "why": "4 slots did only 4% more than 3 slots",
    }


def test_another_study_is_another_climb_and_the_first_is_remembered() -> None:
    made_up = device({1: 100, 2: 180, 3: 182})
    made_up.run(60)
    assert made_up.slots == 2

    made_up.study = "8"
    assert made_up.run(1) == 1  # what it needs of memory is not known
    made_up.rates = {1: 100, 2: 101}
    made_up.run(40)
    assert made_up.slots == 1
    made_up.study = "7"
    assert made_up.run(1) == 2


@pytest.mark.parametrize(
    "of_last",
    [{"state": "idle", "study": ""}, {"study": "9"}, {"steps": "0"}],
    ids=["one has nothing to do", "one is at another study", "one has not come to a step"],
)
def test_what_is_no_full_house_of_one_study_is_not_compared(of_last: dict[str, str]) -> None:
    made_up = device({1: 100, 2: 500})
    made_up.run(15)
    assert made_up.slots == 2

    made_up.run(60, **of_last)
    assert made_up.crowd.climbs["7"].rates.keys() == {1}


def test_while_a_slot_too_many_brings_its_trial_to_an_end_nothing_is_compared() -> None:
    made_up = device({1: 100, 2: 180, 3: 182})
    made_up.leaving = 1
    made_up.run(60)
    assert made_up.crowd.climb.rates == {}

    made_up.leaving = 0
    assert made_up.run(15) == 2


def test_who_is_drained_by_somebody_gets_no_other_slot() -> None:
    made_up = device({1: 100, 2: 500})
    made_up.run(15)
    assert made_up.run(1, state="draining") == 2
    assert made_up.crowd.is_closed


def test_places_whose_slots_are_counted_begin_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(32)), raising=False)
    gpu, other, _, cpu = Division(cpu_slots="auto", slots_per_gpu="auto").places(GPUS)

    assert (gpu.crowd, other.crowd, cpu.crowd) == ("00000000", "10000000", "cpu")
    assert gpu.gpu_share == 1.0
    assert most_slots(gpu) == MOST_ON_GPU


def test_a_daemon_of_mps_is_found_where_it_listens(tmp_path: Path) -> None:
    assert mps_folder({"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}) is None
    (tmp_path / "control").touch()
    assert mps_folder({"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}) == tmp_path
