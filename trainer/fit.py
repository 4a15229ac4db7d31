"""The entry: trains one configuration on prepared data, epoch by epoch, under the eyes of a reporter."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from trainer import checkpoint, model_file, predictions
from trainer.config import TrainConfig, but_schedule
from trainer.crossval import JointTraining
from trainer.data.prepared import Folds, Prepared
from trainer.errors import DataError, NothingToCopy
from trainer.folder import Folder
from trainer.heritage import Heritage
from trainer.keeper import Keeper
from trainer.progress import Monitor
from trainer.ranks import ALONE, Ranks
from trainer.training import Training
from trainer.transfer import Origin

__all__ = ["Decision", "Fitted", "Folder", "Membership", "Monitor", "Reporter", "fit"]

Decision = Literal["continue", "prune", "stop", "pause"]
Ending = Literal["finished", "pruned", "paused", "returned"]
AnyTraining = Training | JointTraining


class Reporter(Protocol):
    """Who is told how it goes, and decides whether it goes on."""

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Decision:
        """Take the metrics, all finite, of an epoch; epochs count from 1."""

    def log(self, line: str) -> None:
        """Take a line for the trial's log."""


@dataclass(frozen=True)
class Membership:
    """What a training of a population has (Jaderberg et al. 2017): its checkpoints stay, as others may go on from them,
    and it may itself go on from those in `copies`, of a training that differs in schedule knobs at most. One that
    `ends` is finished as its checkpoint has it.
    """

    copies: Folder | None = None
    ends: bool = False


@dataclass(frozen=True)
class Fitted:
    """How a training ended.

    A finished one has the metrics of its best epoch and, where there is a test part, `test/…`; any other those of its
    last epoch. The costs, by the names of COST_METRICS, are of all of it, and no two trainings have the same.
    """

    ending: Ending
    metrics: dict[str, float]
    epochs: int
    best_epoch: int
    costs: dict[str, float] = field(compare=False)


def fit(
    config: TrainConfig,
    prepared: Prepared | Folds,
    *,
    monitor: Monitor,
    reporter: Reporter,
    origin: Origin | None = None,
    heritage: Heritage | None = None,
    folder: Folder,
    resume_from: Sequence[Folder] = (),
    membership: Membership | None = None,
    should_leave: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    ranks: Ranks = ALONE,
) -> Fitted:
    """Train until the epochs or the patience are used up, or until told otherwise.

    Args:
        origin: what a pretrained model begins with; it has resolved the configuration.
        heritage: what another trial has left, to begin with as far as it fits.
        folder: takes the checkpoints and, at the end, the model; of this attempt alone.
        resume_from: folders of earlier attempts, newest first; their newest valid checkpoint is gone on from.
        membership: of a training of a population; what it copies counts where there is no checkpoint of its own.
        clock: counts seconds; when the next checkpoint is due depends on it, and no step does.
        ranks: who trains this together. The first one alone reports, decides and writes, and reads what is resumed.

    Raises:
        DataError: the configuration looks at validation rows, and there are none.
        Diverged: a loss or a metric is not finite.
        NothingToCopy: there is no whole checkpoint to copy.
    """
    training = _begun(config, prepared, monitor, reporter, origin, heritage, ranks)
    course = _Course(training, checkpoint.identity(config), reporter, should_leave, ranks)
    if not course.resume(resume_from) and membership and membership.copies:
        course.copy(membership.copies)
    keeper = Keeper(folder, config.checkpoint, clock, writes=ranks.is_first)
    ending = course.train(keeper, clock, is_enough=membership is not None and membership.ends)
    if ending != "finished":
        return course.ended(ending)
    return course.finish(folder, [] if membership else [folder, *resume_from])


@dataclass(frozen=True)
class _Course:
    """A training on its way, with who is told of it and decides."""

    training: AnyTraining
    told: dict[str, Any]  # the training, as checkpoints name it
    reporter: Reporter
    should_leave: Callable[[], bool]
    ranks: Ranks

    def resume(self, folders: Sequence[Folder]) -> bool:
        """Whether there was a checkpoint to go on from: of a training told the same, which takes the same steps."""
        found = self._newest(lambda told: told == self.told, folders)
        if found is not None:
            self.training.restore(found)
            self.reporter.log(f"resumed after epoch {found.epoch}")
        return found is not None

    def copy(self, source: Folder) -> None:
        """Take over weights, the optimizer's state, the epoch and the best one so far; of a training that differs in
        schedule knobs at most.
        """
        rest = but_schedule(self.told)
        found = self._newest(lambda told: but_schedule(told) == rest, [source])
        if found is None:
            raise NothingToCopy("the trial whose training it should take over has no checkpoint that can be used")
        self.training.restore(found)
        self.reporter.log(f"goes on from another training's epoch {found.epoch}")

    def train(self, keeper: Keeper, clock: Callable[[], float], *, is_enough: bool) -> Ending:
        """Epoch by epoch: train, validate, keep, report, and do as told.

        A checkpoint that is due is written before the epoch is reported, and always one of the epoch at which a
        training pauses or leaves. `prune` ends at once and keeps nothing; `stop` finishes early.

        Args:
            is_enough: whether one epoch is, of this attempt or an earlier one.
        """
        training = self.training
        while not training.over and not (is_enough and training.epoch):
            began_at = clock()
            metrics = training.run_epoch()
            training.costs.seconds += clock() - began_at
            for line in (*training.notes(), _line(training.epoch, training.config.epochs, metrics)):
                self.reporter.log(line)
            keeper.write_if_due(training)
            match self.ranks.agreed(partial(self._decision, metrics | training.costs.metrics())):
                case "prune":
                    keeper.clear()
                    return "pruned"
                case "stop":
                    return "finished"
                case "pause":
                    keeper.write(training)
                    return "paused"
                case "leave":
                    keeper.write(training)
                    return "returned"
        return "finished"

    def finish(self, folder: Folder, spent: Sequence[Folder]) -> Fitted:
        """Leave the best epoch's model; the checkpoints in `spent` go, as nothing will be gone on from."""
        training, best = self.training, self.training.restore_best()
        if self.ranks.is_first:
            if (said := training.predictions()) is not None:
                predictions.save(folder, said)
            model_file.save(folder, training.members, training.config, metrics=best.metrics, best_epoch=best.epoch)
            for each in spent:
                checkpoint.clear(each)
        return Fitted("finished", best.metrics, training.epoch, best.epoch, training.costs.metrics())

    def ended(self, ending: Ending) -> Fitted:
        training = self.training
        best_epoch = training.best.epoch if training.best else 0
        return Fitted(ending, training.metrics, training.epoch, best_epoch, training.costs.metrics())

    def _newest(
        self, fits: Callable[[dict[str, Any]], bool], folders: Sequence[Folder]
    ) -> checkpoint.Checkpoint | None:
        """The first rank looks, for all of them."""

        def look() -> checkpoint.Checkpoint | None:
            for found in checkpoint.read_newest(folders, self.reporter.log):
                if fits(found.told):
                    return found
                self.reporter.log(f"the checkpoint of epoch {found.epoch} is of another configuration, and not used")
            return None

        return self.ranks.agreed(look)

    def _decision(self, metrics: Mapping[str, float]) -> Decision | Literal["leave"]:
        decision = self.reporter.report(self.training.epoch, metrics)
        return "leave" if decision == "continue" and self.should_leave() else decision


def _begun(
    config: TrainConfig,
    prepared: Prepared | Folds,
    monitor: Monitor,
    reporter: Reporter,
    origin: Origin | None,
    heritage: Heritage | None,
    ranks: Ranks,
) -> AnyTraining:
    """The training before its first epoch; what it begins with is logged."""
    _refuse_unvalidated(config, prepared)
    training: AnyTraining
    if isinstance(prepared, Folds) or config.seeds > 1:
        training = JointTraining(config, prepared, monitor, origin, heritage, ranks)
    else:
        training = Training(config, prepared, monitor, origin, heritage.of_member(0) if heritage else None, ranks)
    if origin:
        exceptions = f", but for {', '.join(training.made_anew)}" if training.made_anew else ""
        reporter.log(f"from {config.model.source}{exceptions}")
    if heritage:
        reporter.log(f"began with the weights of {heritage.name}: {training.inherited:.0%} of its own")
    return training


def _refuse_unvalidated(config: TrainConfig, prepared: Prepared | Folds) -> None:
    if isinstance(prepared, Folds) or prepared.validation.rows:
        return
    if config.schedule.name == "plateau":
        message = "plateau lowers the rate by val/loss, and there are no validation rows"
        raise DataError("trial.schedule.name", message, "take another schedule")
    if config.early_stopping is not None and config.early_stopping.metric.startswith("val/"):
        message = f"{config.early_stopping.metric} is not measured, as there are no validation rows"
        raise DataError("trial.early_stopping", message, "leave it out")


def _line(epoch: int, epochs: int, metrics: Mapping[str, float]) -> str:
    """For the log, without what single folds and seeds have measured."""
    shown = (f"{name} {value:.5g}" for name, value in metrics.items() if not name.startswith(("fold/", "seed/")))
    return f"epoch {epoch}/{epochs}: " + ", ".join(shown)
