import pytest

from store.errors import SettingsError
from worker.gpu import Gpu, choose
from worker.places import group, places_for, read_group_sizes

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


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ("1", [[0], [1], [2]]),
        ("2", [[0, 1], [2]]),  # what is left over serves singly
        ("3", [[0, 1, 2]]),
        ("1,2", [[0], [1, 2]]),
    ],
)
def test_gpus_are_grouped_and_none_is_in_two_groups(sizes: str, groups: list[list[int]]) -> None:
    assert [[gpu.index for gpu in each] for each in group(GPUS, read_group_sizes(sizes))] == groups


@pytest.mark.parametrize("sizes", ["4", "2,2", "0", "", "two", "2,", "65"])
def test_groups_that_cannot_be_made_are_an_error_with_the_option(sizes: str) -> None:
    with pytest.raises(SettingsError, match="--gpus-per-trial"):
        group(GPUS, read_group_sizes(sizes))


def test_a_group_is_one_slot_that_sees_its_gpus_and_shares_none() -> None:
    [pair, single] = places_for(GPUS, cpu_slots=0, slots_per_gpu=1, group_sizes=[2])

    assert (pair.label, single.label) == ("00000000x2", "20000000")
    assert pair.uuids == "GPU-00000000-1111,GPU-10000000-1111"
    assert pair.device == "2 x Test GPU GPU-00000000-1111,GPU-10000000-1111"
    with pytest.raises(SettingsError, match="--slots-per-gpu"):
        places_for(GPUS, cpu_slots=0, slots_per_gpu=2, group_sizes=[2])
