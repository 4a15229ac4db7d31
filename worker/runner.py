"""The runner: the long-lived child of a slot, in which trials run. If it dies, only its trial is lost."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from store.artifacts import Artifacts
from store.bus import Caller, open_redis
from store.parcels import Parcels
from store.settings import Settings
from worker.channel import Began, Channel, Do, Done, Ended, Rest
from worker.collecting import Collecting
from worker.conversion import Converting
from worker.ensembling import Ensembling
from worker.jobs import Bench, perform
from worker.library import Library
from worker.lifeline import end_with_parent
from worker.log import configure
from worker.objectives import Objectives
from worker.oom import be_first_to_go
from worker.prediction import Predicting
from worker.progress import Progress
from worker.refitting import Refitting
from worker.rescoring import Rescoring
from worker.room import patient_artifacts
from worker.shelf import Shelf
from worker.spool import spool_folder
from worker.training import Training, warm_up
from worker.triallog import LogKeeper
from worker.wear import Wear

LEAVE_SHARE = 0.5  # of the grace, for a command to end when the worker leaves; the slot waits for us a bit longer


class Leaving:
    """Whether this runner was asked to leave: SIGTERM, seen by a trial at its next report."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self, _signum: int, _frame: FrameType | None) -> None:
        self._asked = True

    def __call__(self) -> bool:
        return self._asked


class Resting:
    """Whether the slot said, while a trial runs, that it is the last one."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asked = False

    def __call__(self) -> bool:
        while not self._asked and (word := self._channel.receive(0)) is not None:
            self._asked = isinstance(word, Rest)
        return self._asked


def main() -> int:
    """Do errands until the slot closes the channel."""
    leaving = Leaving()
    signal.signal(signal.SIGTERM, leaving.ask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = _arguments()
    end_with_parent(arguments.parent, signal.SIGKILL)
    be_first_to_go()
    os.set_inheritable(arguments.channel, False)
    # A trial turns standard error into its log; what the runner itself has to say stays where the slot's lines are.
    configure(os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1), worker=arguments.name, role="runner")
    channel = Channel(Connection(arguments.channel))
    settings = Settings()
    bench = _bench(settings, arguments, channel, leaving)
    if settings.warm_runners and not channel.has_word:
        warm_up()
    while True:
        try:
            word = channel.receive()
        except EOFError:
            return 0
        if isinstance(word, Do):
            perform(bench, *word.errand)
            channel.send(Done(worn=bench.wear.reason))


def _bench(settings: Settings, arguments: argparse.Namespace, channel: Channel, leaving: Leaving) -> Bench:
    artifacts = patient_artifacts(settings.artifacts)
    if not settings.hf_hub:  # read by the libraries when they are imported, with the first pretrained model
        os.environ["HF_HUB_OFFLINE"] = "1"
    library = Library(artifacts, settings.data_folders, settings.home / "datasets")
    client = open_redis(settings.redis_url)
    training = _training(settings, arguments, artifacts, library)
    objectives = Objectives(settings.objectives_file, artifacts, LEAVE_SHARE * settings.grace_seconds)
    return Bench(
        worker=arguments.name,
        device=arguments.device,
        caller=Caller(client, arguments.name),
        artifacts=artifacts,
        kinds={"train": training, "objective": objectives},
        tasks={
            "predict": Predicting(Parcels(client, settings.predict_seconds)),
            "collect": Collecting(),
            "convert": Converting(library),
            "rescore": Rescoring(training),
            "ensemble": Ensembling(library, _torch_device(arguments), Refitting(training)),
        },
        pull_seconds=settings.pull_seconds,
        began=lambda attempt: channel.send(Began(attempt=attempt)),
        ended=lambda attempt, refused: channel.send(Ended(attempt=attempt, refused=refused)),
        should_leave=leaving,
        should_rest=Resting(channel),
        spools=spool_folder(settings) / arguments.name,
        report_patience=settings.lease_seconds / 2,  # the other half it goes on without an answer
        lease=settings.lease_seconds,
        wear=Wear(settings.runner_trials, settings.runner_growth),
        progress=Progress(channel.send, settings.beat_seconds),
        logs=LogKeeper(),
    )


def _training(settings: Settings, arguments: argparse.Namespace, artifacts: Artifacts, library: Library) -> Training:
    return Training(
        artifacts,
        library,
        _torch_device(arguments),
        arguments.gpu_share,
        is_crowd=arguments.crowd,
        hub=settings.hf_hub,
        shelf=Shelf(arguments.shelf) if arguments.shelf else None,
    )


def _torch_device(arguments: argparse.Namespace) -> str:
    return "cuda" if arguments.gpu else "cpu"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.runner", description=__doc__)
    parser.add_argument("--channel", type=int, required=True, help="the file descriptor of our end of the pipe")
    parser.add_argument("--parent", type=int, required=True, help="the slot's process id")
    parser.add_argument("--name", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--gpu-share", type=float, default=1.0, help="of the GPU's memory, for one trial")
    parser.add_argument("--crowd", action="store_true", help="others may train on the GPU, as many as fit")
    parser.add_argument("--shelf", type=Path, help="the folder that this machine's slots share prepared data in")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
