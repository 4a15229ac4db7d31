"""The process of one slot: an RQ worker, its runner, and its signs of life. Never imports torch."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from contextlib import suppress

import structlog
from rq.exceptions import StopRequested

from store.bus import open_redis
from store.queue import queue_name
from store.settings import Settings
from worker.beats import Beats
from worker.child import RunnerChild
from worker.lifeline import end_with_parent
from worker.log import configure
from worker.rq_worker import SlotWorker
from worker.slot import Slot

GRACE_SHARE = 0.75  # of the time that the supervisor leaves us; the rest is for telling what became of the trial
LEASES_TO_LIVE = 3  # after so many leases of silence a worker is gone from the list of workers

log = structlog.get_logger(__name__)


def main() -> int:
    """Serve until asked to leave: 0. Anything else that ends it is an error: 1."""
    arguments = _arguments()
    end_with_parent(arguments.parent, signal.SIGTERM)
    configure(sys.stderr, worker=arguments.name)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")  # RQ's own lines
    settings = Settings()
    accelerator = ["--gpu"] if arguments.gpu else []
    child = RunnerChild(["--name", arguments.name, "--device", arguments.device, *accelerator])
    beats = Beats(
        open_redis(settings.redis_url),
        name=arguments.name,
        pool=arguments.pool,
        device=arguments.device,
        gpu=arguments.gpu,
        beat_seconds=settings.beat_seconds,
        ttl_seconds=LEASES_TO_LIVE * settings.lease_seconds,
    )
    slot = Slot(open_redis(settings.redis_url), arguments.name, child, beats)
    worker = SlotWorker(
        open_redis(settings.redis_url),
        queue_name(arguments.pool, arguments.gpu),
        arguments.name,
        slot,
        grace_seconds=GRACE_SHARE * settings.grace_seconds,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, worker.request_stop)
    with beats:
        try:
            with suppress(StopRequested):
                child.start()
                worker.work(logging_level="WARNING")
        finally:
            child.stop(settings.grace_seconds)
    return 0 if worker.is_leaving else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.serve", description=__doc__)
    parser.add_argument("--name", required=True, help="unique among all workers")
    parser.add_argument("--pool", required=True)
    parser.add_argument("--device", required=True, help="as people shall read it")
    parser.add_argument("--gpu", action="store_true", help="serve the jobs that want a GPU, on the one that is visible")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process with which this one ends")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
