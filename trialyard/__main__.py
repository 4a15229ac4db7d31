"""Where the command `trialyard` begins."""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    # Ctrl-C during the imports would be a traceback, or be lost in one of them: until a command has something that must
    # be ended in order, the process simply ends.
    signal.signal(signal.SIGINT, _leave)
    from trialyard.cli import main as run_command

    run_command()


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
