"""What the errors of trials say about their parameters."""

from __future__ import annotations

import pytest
import torch

from trainer.errors import Diverged
from worker.ending import CommandFailed, OutOfDeviceMemory, outcome_of, reason_of
from worker.reporter import NotANumber


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("no such column"), "failed"),
        (CommandFailed("the command ended with exit code 1", "KeyError: 'lr'"), "failed"),
        (Diverged(3, "train/loss is nan"), "diverged"),
        (NotANumber("loss is nan at step 3"), "diverged"),
        (OutOfDeviceMemory("out of device memory"), "infeasible"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB"), "infeasible"),
        (CommandFailed("the command ended with exit code 1", "torch.OutOfMemoryError: CUDA out …"), "infeasible"),
        (MemoryError(), "failed"),  # the machine's, which other trials share
    ],
)
def test_an_error_tells_whether_the_parameters_lead_astray_or_do_not_fit(error: BaseException, outcome: str) -> None:
    assert outcome_of(error) == outcome


def test_a_reason_is_text_that_a_terminal_shows_as_it_is():
    error = ValueError("\x1b[31mred\x1b[0m\n\ttab, bell \x07, nul \0, half \ud800, größer")

    assert reason_of(error) == "ValueError: red\n\ttab, bell \\x07, nul \\x00, half \\ud800, größer"
