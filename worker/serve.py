"""The process of one slot: an RQ worker, its runner, and its signs of life. Never imports torch."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from contextlib import suppress
from importlib.metadata import version

import structlog
from rq.exceptions import StopRequested

from store.bus import open_redis
from store.messages import PROTOCOL
from store.queue import queue_name
from store.settings import Settings
from worker.beats import Beats
from worker.child import RunnerChild
from worker.figures import Figures
from worker.lifeline import end_with_parent
from worker.log import configure
from worker.memory import MemoryBound
from worker.rq_worker import SlotWorker
from worker.scarcity import GIVE_WAY
from worker.slot import Slot

GRACE_SHARE = 0.75  # of the time that the supervisor leaves us; the rest is for telling what became of the trial
DRAINED = 10  # the exit code of a slot that was asked to leave and shall not be started again
LEASES_TO_LIVE = 3  # after so many leases of silence a worker is gone from the list of workers

log = structlog.get_logger(__name__)


def main() -> int:
    """Serve until asked to leave: 0, or `DRAINED`. Anything else that ends it is an error: 1."""
    arguments = _arguments()
    end_with_parent(arguments.parent, signal.SIGTERM)
    configure(sys.stderr, worker=arguments.name)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")  # RQ's own lines
    settings = Settings()
    child = RunnerChild(_runner_options(arguments))
    bound = MemoryBound(arguments.memory, lambda: child.pid, child.kill, is_limit=arguments.limit_memory)
    beats = _beats(settings, arguments, Figures(lambda: child.pid, _gpus(arguments)))
    slot = Slot(open_redis(settings.redis_url), arguments.name, child, beats, bound)
    worker = SlotWorker(
        open_redis(settings.redis_url),
        queue_name(arguments.pool, gpus=len(_gpus(arguments))),
        arguments.name,
        slot,
        grace_seconds=GRACE_SHARE * settings.grace_seconds,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, worker.request_stop)
    signal.signal(signal.SIGUSR1, worker.request_drain)
    signal.signal(GIVE_WAY, lambda _number, _frame: bound.give_way())
    with beats, bound:
        try:
            with suppress(StopRequested):
                child.start()
                worker.work(logging_level="WARNING")
        finally:
            child.stop(settings.grace_seconds)
    if worker.is_leaving:
        return 0
    return DRAINED if worker.is_draining else 1


def _beats(settings: Settings, arguments: argparse.Namespace, figures: Figures) -> Beats:
    about = {
        "name": arguments.name,
        "machine": arguments.machine,
        "supervisor": arguments.supervisor,
        "pool": arguments.pool,
        "device": arguments.device,
        "gpus": str(len(_gpus(arguments))),
        "memory": str(arguments.memory or ""),
        "crowd": arguments.crowd,
        "version": version("trialyard"),
        "protocol": str(PROTOCOL),
    }
    return Beats(
        open_redis(settings.redis_url, longest_block=0.0),  # a beat that hangs must not cost the lease
        about,
        beat_seconds=settings.beat_seconds,
        ttl_seconds=LEASES_TO_LIVE * settings.lease_seconds,
        on_drain=lambda: os.kill(os.getpid(), signal.SIGUSR1),  # to the main thread, which may be waiting for a job
        figures=figures,
    )


def _runner_options(arguments: argparse.Namespace) -> list[str]:
    options = ["--name", arguments.name, "--device", arguments.device]
    if arguments.shelf:
        options += ["--shelf", arguments.shelf]
    if arguments.crowd:
        options.append("--crowd")
    return [*options, "--gpu", "--gpu-share", str(arguments.gpu_share)] if arguments.gpus else options


def _gpus(arguments: argparse.Namespace) -> list[str]:
    return [uuid for uuid in arguments.gpus.split(",") if uuid]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.serve", description=__doc__)
    parser.add_argument("--name", required=True, help="unique among all workers")
    parser.add_argument("--pool", required=True)
    parser.add_argument("--device", required=True, help="as people shall read it")
    parser.add_argument("--machine", default="", help="what people call all slots of its supervisor")
    parser.add_argument("--supervisor", default="", help="its supervisor's own name, unlike that of any other")
    parser.add_argument("--memory", type=int, default=0, help="bytes of the host's memory that a trial may count on")
    parser.add_argument("--limit-memory", action="store_true", help="end a trial that uses more")
    parser.add_argument("--gpus", default="", metavar="UUIDS", help="serve the jobs that want so many GPUs, on these")
    parser.add_argument("--gpu-share", type=float, default=1.0, help="of the GPU's memory, for one trial")
    parser.add_argument("--crowd", default="", help="the device whose slots are being counted, of which this is one")
    parser.add_argument("--shelf", default="", metavar="FOLDER", help="which the machine's slots share")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process with which this one ends")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
