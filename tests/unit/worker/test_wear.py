"""When a runner is replaced."""

from __future__ import annotations

import pytest
import torch

from worker.wear import Wear

MIB = 2**20


def test_a_runner_is_worn_after_so_many_trials() -> None:
    wear = Wear(most_trials=3, most_growth=MIB, memory=lambda: 1)
    for _ in range(2):
        wear.trial_ended()
    assert wear.reason is None
    wear.trial_ended()
    assert wear.reason == "it has run 3 trials"


def test_a_runner_that_grows_beyond_what_its_first_trial_took_is_worn() -> None:
    held = iter([500 * MIB, 510 * MIB, 511 * MIB])  # 10 MiB more than after the first trial, then 11
    wear = Wear(most_trials=100, most_growth=10 * MIB, memory=lambda: next(held))
    wear.trial_ended()
    wear.trial_ended()
    assert wear.reason is None
    wear.trial_ended()
    assert wear.reason == "it has grown by 11.0MiB since its first trial"


@pytest.mark.parametrize(
    "error",
    [torch.AcceleratorError("CUDA error: misaligned address"), RuntimeError("CUDA error: assert")],
)
def test_an_error_of_the_device_wears_a_runner_also_as_a_cause(error: Exception) -> None:
    wear = Wear(most_trials=100, most_growth=MIB, memory=lambda: 1)
    outer = ValueError("the training failed")
    outer.__cause__ = error
    wear.failed(outer)
    assert wear.reason == f"a device error: {error}"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("shapes do not match")])
def test_other_failures_leave_the_runner_in_its_place(error: Exception) -> None:
    wear = Wear(most_trials=100, most_growth=MIB, memory=lambda: 1)
    wear.failed(error)
    assert wear.reason is None
