import pytest

from store.errors import SettingsError
from worker.division import Division, group, read_division, read_group_sizes
from worker.gpu import Gpu, choose

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
    places = Division(cpu_slots=1, slots_per_gpu=2).places(GPUS[:2])

    assert [place.label for place in places] == ["00000000", "00000000", "10000000", "10000000", "cpu0"]
    assert [place.device for place in places[3:]] == ["Test GPU GPU-10000000-1111", "cpu"]


def test_slots_share_the_cores_and_each_has_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)

    assert Division(cpu_slots=3).places([])[0].threads == 2  # 8 // 3
    assert Division(cpu_slots=20).places([])[0].threads == 1


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


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cpu_slots": "many"}, "--cpu-slots many: it must be a number, or auto"),
        ({"slots_per_gpu": "0", "cpu_slots": "2"}, "--slots-per-gpu 0: it must be at least 1; --gpus none leaves"),
        ({"memory_per_slot": "much"}, "--memory-per-slot much: it must be a size, such as 8GiB"),
        (
            {"memory_per_slot": "0"},
            "--memory-per-slot 0: it must be from 64.0MiB, which a slot takes, to the machine's",
        ),
        ({"memory_per_slot": "9000TiB"}, "--memory-per-slot 9000TiB: it must be from 64.0MiB"),
        ({"memory_per_slot": "1e999"}, "--memory-per-slot 1e999: it must be a size"),
        ({"cpu_slots": "100000"}, r"--cpu-slots 100000: it must be at most \d+ on this machine"),
        ({"slots_per_gpu": "9" * 5000}, r"--slots-per-gpu 9+: it must be at most 64 on this machine"),
    ],
)
def test_words_that_are_none_are_an_error_with_the_option(given: dict[str, str], says: str) -> None:
    words = {"gpus": None, "slots_per_gpu": "1", "gpus_per_trial": "1", "cpu_slots": None, "memory_per_slot": None}
    with pytest.raises(SettingsError, match=says):
        read_division(**words | given)


def test_a_machine_without_slots_is_an_error() -> None:
    with pytest.raises(SettingsError, match="at least one slot"):
        Division(cpu_slots=0).places([])


def test_cores_serve_by_themselves_where_no_gpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(3)), raising=False)

    assert [place.label for place in Division().places([])] == ["cpu0", "cpu1", "cpu2"]
    assert [place.label for place in Division().places(GPUS[:1])] == ["00000000"]


def test_a_group_is_one_slot_that_sees_its_gpus_and_shares_none() -> None:
    [pair, single] = Division(cpu_slots=0, group_sizes=[2]).places(GPUS)

    assert (pair.label, single.label) == ("00000000x2", "20000000")
    assert pair.uuids == "GPU-00000000-1111,GPU-10000000-1111"
    assert pair.device == "2 x Test GPU GPU-00000000-1111,GPU-10000000-1111"
    with pytest.raises(SettingsError, match="--slots-per-gpu"):
        Division(cpu_slots=0, slots_per_gpu=2, group_sizes=[2]).places(GPUS)
