"""A process that does not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, by: signal.Signals) -> None:
    """Have the kernel send us a signal when our parent dies, however it dies. Linux only; elsewhere this does nothing.

    The kernel watches the thread that started us, so the parent must have done it from its main thread.

    Args:
        parent: the process id that the parent gave us; if it is not our parent any more, we end at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this one, is gone")
