from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from trialyard.progress import Progress, clock, line, spark, view
from trialyard.resources import Event, Study


@pytest.fixture
def progress() -> Progress:
    return Progress("digits", "val/accuracy", "maximize", total=10, before=0)


def tell(progress: Progress, *events: tuple[str, dict[str, Any]]) -> None:
    for number, (kind, body) in enumerate(events, 1):
        progress.apply(Event(id=number, kind=kind, body=body))


def trial(number: int, state: str, value: float | None = None) -> tuple[str, dict[str, Any]]:
    return "trial", {"number": number, "state": state, "values": None if value is None else {"val/accuracy": value}}


def report(number: int, step: int, value: float) -> tuple[str, dict[str, Any]]:
    return "report", {"number": number, "attempt": 1, "step": step, "metrics": {"val/accuracy": value, "val/loss": 1.0}}


def test_a_trial_is_counted_once_in_the_state_it_has_now(progress: Progress) -> None:
    tell(progress, trial(0, "QUEUED"), trial(0, "RUNNING"), trial(1, "QUEUED"), trial(0, "PRUNED"))

    assert progress.counts == {"pruned": 1, "queued": 1}
    assert progress.done == 1


def test_an_end_that_the_log_tells_of_a_study_that_was_taken_up_again_is_none() -> None:
    objective = {"metric": "val/accuracy", "direction": "maximize"}
    document = {"definition": {"objective": objective}, "counts": {"complete": 1}, "created_at": "2026-01-01T00:00:00Z"}
    progress = Progress.of(Study.model_validate({"name": "s", "state": "RUNNING", "last_event": 4} | document))

    ended: tuple[str, dict[str, Any]] = ("study", {"state": "COMPLETE"})
    tell(progress, ("study", {"state": "RUNNING"}), trial(0, "COMPLETE", 0.5), ended)
    assert (progress.ended, progress.best, progress.before) == (False, 0, 1)
    tell(progress, *[ended] * 5)

    assert progress.ended


@pytest.mark.parametrize(("direction", "best"), [("maximize", 1), ("minimize", 2)])
def test_the_best_is_by_the_objectives_direction_and_complete(direction: str, best: int) -> None:
    progress = Progress("digits", "val/accuracy", direction, total=10, before=0)

    tell(progress, trial(0, "COMPLETE", 0.5), trial(1, "COMPLETE", 0.9), trial(2, "COMPLETE", 0.1), trial(3, "PRUNED"))

    assert progress.best == best


def test_the_first_of_two_equals_stays_the_best(progress: Progress) -> None:
    tell(progress, trial(4, "COMPLETE", 0.9), trial(2, "COMPLETE", 0.9))

    assert progress.best == 4


def test_a_curve_is_in_the_order_of_steps_and_a_repeated_step_counts_once(progress: Progress) -> None:
    tell(progress, report(0, 1, 0.1), report(0, 2, 0.2), report(0, 3, 0.3), report(0, 2, 0.25), report(0, 3, 0.35))

    assert progress.curve(0) == [0.1, 0.25, 0.35]
    assert progress.curve(9) == []


def test_the_newest_running_trial_is_one_that_has_reported(progress: Progress) -> None:
    tell(progress, trial(0, "RUNNING"), report(0, 1, 0.1), trial(1, "RUNNING"), trial(2, "PRUNED"), report(2, 1, 0.1))

    assert progress.newest_running == 0


def test_the_time_left_follows_the_pace_of_this_sitting() -> None:
    progress = Progress("digits", "val/accuracy", "maximize", total=10, before=2)
    assert progress.seconds_left(5) is None  # nothing has ended yet

    tell(progress, *[trial(number, "COMPLETE", 0.5) for number in range(6)])

    # 6 are done, 2 of them before this sitting: 4 in 20 s, 5 s each, and 4 are left.
    assert progress.seconds_left(20) == 20
    # Two more wait at a rung, which most never leave: 6 in 24 s, and 2 are left.
    tell(progress, trial(6, "PAUSED"), trial(7, "PAUSED"))
    assert progress.seconds_left(24) == 8
    # All have begun: what is left are those that the rungs let go on, and nobody knows how many.
    tell(progress, trial(8, "RUNNING"), trial(9, "RUNNING"))
    assert progress.seconds_left(25) is None
    tell(progress, trial(6, "PRUNED"), trial(7, "PRUNED"))
    assert progress.seconds_left(24) == 8


def test_a_grid_whose_failed_trials_come_again_has_as_many_as_there_are() -> None:
    progress = Progress("grid", "loss", "minimize", total=2, before=0)

    tell(progress, *[trial(number, "FAILED") for number in range(2)], trial(2, "RUNNING"))

    assert line(progress, elapsed=3.0).startswith("grid: 2/3 trials")


def test_a_study_without_a_number_of_trials_has_no_time_left() -> None:
    progress = Progress("digits", "val/accuracy", "maximize", total=None, before=0)
    tell(progress, trial(0, "COMPLETE", 0.5))

    assert progress.seconds_left(20) is None


def test_a_study_ends_with_its_event(progress: Progress) -> None:
    tell(progress, ("study", {"state": "RUNNING"}))
    assert not progress.ended
    tell(progress, ("study", {"state": "CANCELLED"}))
    assert progress.ended


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([0.7], "▁"),
        ([3.0, 3.0], "▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([7, 0], "█▁"),
    ],
)
def test_a_spark_stretches_from_its_lowest_to_its_highest(values: list[float], bars: str) -> None:
    assert spark(values) == bars


def test_a_long_curve_is_thinned_out_and_keeps_its_ends() -> None:
    # 101 values on 5 places: those at 0, 25, 50, 75 and 100; of seven steps 0, 1.75, 3.5 (to the even one), 5.25, 7
    assert spark([float(value) for value in range(101)], width=5) == "▁▃▅▆█"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00")])
def test_a_clock_shows_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_line_tells_it_all_in_plain_text(progress: Progress) -> None:
    tell(progress, trial(0, "COMPLETE", 0.97222222), trial(1, "RUNNING"), trial(2, "PRUNED"))

    assert line(progress, 12) == (
        "digits: 2/10 trials · 1 running, 1 complete, 1 pruned · best val/accuracy 0.972222 (trial 0) "
        "· 0:12 gone, about 0:48 left"  # 6 s each, 8 left
    )


def test_the_view_shows_the_curves_of_the_best_and_of_the_newest(progress: Progress) -> None:
    tell(progress, trial(0, "RUNNING"), report(0, 1, 0.1), report(0, 2, 0.8), trial(0, "COMPLETE", 0.8))
    tell(progress, trial(1, "RUNNING"), report(1, 1, 0.9), report(1, 2, 0.5))
    console = Console(width=120)

    with console.capture() as captured:
        console.print(view(progress, 5, "http://127.0.0.1:1/studies/digits"))

    lines = [" ".join(each.split()) for each in captured.get().splitlines()]
    assert lines[0] == "digits http://127.0.0.1:1/studies/digits"
    assert "best trial 0 val/accuracy 0.8 ▁█" in lines
    assert "newest trial 1 val/accuracy 0.5 █▁" in lines


def test_the_view_of_a_study_that_has_just_begun_says_what_happens(progress: Progress) -> None:
    console = Console(width=120)

    with console.capture() as captured:
        console.print(view(progress, 0, "http://127.0.0.1:1/studies/digits"))

    assert "preparing" in captured.get()
