"""What a deterministic study tells its sampler before a proposal: results in their order, and none before its time."""

from __future__ import annotations

from search.hindsight import Window
from store.models import TrialState


def test_a_result_is_told_after_those_of_the_trials_before_it() -> None:
    window = Window(parallel=2)
    window.of(1).end = (TrialState.COMPLETE, [0.5])

    assert window.reveal(3) == []  # trial 3 is a person's: nobody waits for trial 0
    window.of(0).end = (TrialState.FAILED, None)
    assert [number for number, _ in window.reveal(4)] == [0, 1]
    assert window.reveal(4) == []
