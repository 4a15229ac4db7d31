import pytest

from store.errors import SettingsError
from worker.gpu import Gpu, choose
from worker.places import places_for

GPUS = [Gpu(index, f"GPU-{index}0000000-1111", "Test GPU") for index in range(3)]


@pytest.mark.parametrize(
    ("selection", "indices"), [("all", [0, 1, 2]), ("none", []), ("1", [1]), ("2,0", [2, 0]), ("0, 0", [0])]
)
def test_gpus_are_chosen_by_word_or_index(selection: str, indices: list[int]) -> None:
    assert [gpu.index for gpu in choose(GPUS, selection)] == indices


@pytest.mark.parametrize("selection", ["3", "0,7", "", "first"])
def test_a_gpu_that_is_not_there_is_an_error_that_names_those_that_are(selection: str) -> None:
    with pytest.raises(SettingsError, match="this machine has 0, 1, 2"):
        choose(GPUS, selection)


def test_every_gpu_gets_its_slots_before_those_on_the_cores() -> None:
    places = places_for(GPUS[:2], cpu_slots=1, slots_per_gpu=2)

    assert [place.label for place in places] == ["00000000", "00000000", "10000000", "10000000", "cpu0"]
    assert [place.device for place in places[3:]] == ["Test GPU GPU-10000000-1111", "cpu"]


def test_slots_share_the_cores_and_each_has_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)

    assert places_for([], cpu_slots=3, slots_per_gpu=1)[0].threads == 2  # 8 // 3
    assert places_for([], cpu_slots=20, slots_per_gpu=1)[0].threads == 1
