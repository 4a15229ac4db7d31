"""Starts the ranks of a training by torchrun's elastic agent, and says what became of them."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from worker.desk import Failed, Visitor

KILL_AFTER_SECONDS = 5  # for ranks to end that lost another one


def main() -> int:
    arguments, options = _arguments()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=arguments.ranks,
        run_id=f"trialyard-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,  # the scheduler tries again, perhaps elsewhere, and counts it
        shutdown_timeout=KILL_AFTER_SECONDS,
    )
    options += ["--desk", str(arguments.desk), "--parent", str(os.getpid())]
    try:
        elastic_launch(config, sys.executable)("-P", "-u", "-m", "worker.rank", *options)
    except ChildFailedError as error:
        Visitor(arguments.desk).say(Failed(attempt=None, outcome="lost", reason=_how(error, arguments.ranks)))
        return 1
    return 0


def _how(error: ChildFailedError, ranks: int) -> str:
    """The death that came first, and not those that the agent brought about."""
    deaths = sorted(error.failures.items(), key=lambda each: (each[1].exitcode >= 0, each[1].timestamp))
    by_themselves = [(rank, death) for rank, death in deaths if death.exitcode != -signal.SIGTERM]
    rank, death = (by_themselves or deaths)[0]
    return f"process {rank} of the {ranks} that train it {_ended(death)}"


def _ended(death: ProcessFailure) -> str:
    if death.exitcode < 0:
        return f"was killed by signal {-death.exitcode} ({death.signal_name()})"
    return f"ended with exit code {death.exitcode}"


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    """Ours, and those that the ranks are started with."""
    parser = argparse.ArgumentParser(prog="python -m worker.launch", description=__doc__)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--desk", type=Path, required=True, help="the socket on which the runner is spoken to")
    return parser.parse_known_args()


if __name__ == "__main__":
    sys.exit(main())
