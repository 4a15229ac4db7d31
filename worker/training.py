"""Trials of `kind: train`: the trainer's loop on data that stays where it is from trial to trial.

Torch is imported by `warm_up` or with the first such trial, not with this module: a slot that only calls objectives
never needs it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from search.definition import Definition
from store.artifacts import Artifacts
from store.messages import Assignment, AttemptKey, Membership
from trainer.config import TrainConfig
from worker.collecting import CHECKPOINTS, delete
from worker.ending import CrowdedOut, Ending, OutOfDeviceMemory
from worker.group import Group
from worker.library import Library
from worker.reporter import Reporter
from worker.shelf import Shelf

if TYPE_CHECKING:
    from trainer.data.prepared import Folds, Prepared
    from trainer.fit import Fitted
    from trainer.fit import Membership as Member
    from trainer.fit import Reporter as TrainerReporter
    from trainer.ranks import Ranks
    from trainer.transfer import Origin, Origins

KEPT_DATA_SETS = 4
CROWDED_SHARE = 0.1  # of the device's memory; less is what the contexts of idle neighbours take


class Training:
    """Trains configurations one after another in this process."""

    def __init__(
        self,
        artifacts: Artifacts,
        library: Library,
        device: str,
        device_share: float = 1.0,
        *,
        is_crowd: bool = False,
        hub: bool = False,
        shelf: Shelf | None = None,
    ) -> None:
        """
        Args:
            device: as torch names it: cpu, or cuda for the one GPU that this process sees.
            device_share: how much of the GPU's memory a training may use; slots that share one must not take all.
            is_crowd: whether as many others train on the GPU as turn out to fit.
            hub: whether pretrained models may come from the Hugging Face Hub.
            shelf: where prepared data lie for all slots of the machine; without it they are this process's own.
        """
        self._artifacts = artifacts
        self._library = library
        self._device = device
        self._device_share = device_share
        self._is_bounded = False
        self._is_crowd = is_crowd
        self._hub = hub
        self._shelf = shelf
        self._group = Group(shelf.folder if shelf else None, gpus=device == "cuda")
        self._origins: tuple[int, Origins] | None = None
        self._prepared: OrderedDict[tuple[int, str], Prepared | Folds] = OrderedDict()

    def run(self, assignment: Assignment, reporter: Reporter, should_leave: Callable[[], bool]) -> Ending:
        """Train, from the newest checkpoint of an earlier attempt if there is one.

        Raises:
            TrainerError: the data cannot be used, or the training diverged.
            OutOfDeviceMemory: it needs more than there is.
            CrowdedOut: it needs more than its neighbours leave.
            GroupFailed: it was split over several processes, and one of them could not go on.
            StaleAttempt, NotANumber, Unavailable: from its reports.
        """
        for attempt in assignment.membership.spent if assignment.membership else ():
            delete(self._artifacts.attempt(assignment.attempt._replace(attempt=attempt)), CHECKPOINTS)
        if assignment.ranks > 1:
            self._prepared.clear()  # each process of the group has its own
            return self._group.train(assignment, reporter, should_leave)
        self._group.stop()
        import torch

        self._bound_device()
        try:
            fitted = self.fit(assignment, reporter, should_leave)
            return Ending(fitted.ending, fitted.metrics | fitted.costs)
        except torch.OutOfMemoryError as error:
            message = str(error)
        others = _held_by_others() if self._is_crowd else 0.0
        # Out of the handler, so that nothing holds the training's tensors any more.
        self._prepared.clear()
        torch.cuda.empty_cache()
        if others > CROWDED_SHARE:
            raise CrowdedOut(f"out of device memory, {others:.0%} of which its neighbours hold: {message}")
        raise OutOfDeviceMemory(f"out of device memory: {message}")

    def preflight(
        self, definition: Definition, origins: Mapping[str, AttemptKey]
    ) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """Hold the corners of the search space against the data: problems and facts."""
        import torch

        from trainer.errors import DataError
        from trainer.preflight import check

        try:
            corners = [self._local(TrainConfig.model_validate(corner)) for corner in definition.corners()]
        except DataError as error:
            return [asdict(error.problem)], {}
        problems, facts = check(
            corners,
            wanted=definition.metrics(),
            data_folders=self._library.folders,
            device=torch.device(self._device),
            origins=self._fresh_origins(origins),
            ranks=definition.resources.ranks,
        )
        return [asdict(problem) for problem in problems], facts

    def _bound_device(self) -> None:
        """Once: beyond its share, a training fails for want of device memory, and its neighbours do not."""
        import torch

        if self._device == "cuda" and self._device_share < 1.0 and not self._is_bounded:
            torch.cuda.set_per_process_memory_fraction(self._device_share)
            self._is_bounded = True

    def fit(
        self,
        assignment: Assignment,
        reporter: TrainerReporter,
        should_leave: Callable[[], bool],
        ranks: Ranks | None = None,
    ) -> Fitted:
        """Train in this process: alone, or as one of several.

        Raises:
            TrainerError: the data cannot be used, or the training diverged.
        """
        from trainer.fit import Monitor, fit
        from trainer.heritage import read
        from trainer.ranks import ALONE

        config, prepared, origin = self.make_ready(assignment.attempt.study_id, assignment.trial, assignment.origins)
        if isinstance(reporter, Reporter):
            reporter.rows_a_step = _rows_of_epoch(config, prepared)
        inherits, membership = assignment.inherits, assignment.membership
        earlier = [assignment.attempt._replace(attempt=attempt) for attempt in assignment.resumable]
        return fit(
            config,
            prepared,
            monitor=Monitor(assignment.metric, assignment.direction),
            reporter=reporter,
            origin=origin,
            heritage=read(f"trial {inherits.number}", self._artifacts.attempt(inherits)) if inherits else None,
            folder=self._artifacts.attempt(assignment.attempt),
            resume_from=[self._artifacts.attempt(key) for key in earlier],
            membership=self._membership(membership) if membership else None,
            should_leave=should_leave,
            ranks=ranks or ALONE,
        )

    def make_ready(
        self, study_id: int, trial: Mapping[str, Any], origins: Mapping[str, AttemptKey]
    ) -> tuple[TrainConfig, Prepared | Folds, Origin | None]:
        """The configuration of a section `trial`, complete, the study's data for it, and what a pretrained model begins
        with: a source, or one of the trials in `origins`.

        Raises:
            TrainerError: the data cannot be used.
        """
        config, origin = self._resolved(study_id, trial, origins)
        return config, self._prepare(study_id, config, origin), origin

    def make_whole_ready(
        self, study_id: int, trial: Mapping[str, Any], seeds: int, origins: Mapping[str, AttemptKey]
    ) -> tuple[TrainConfig, Prepared, Origin | None]:
        """As `make_ready`, from so many seeds on all rows but those that test: nothing is left to validate."""
        import torch

        from trainer.data.mapped import placed, room_on
        from trainer.data.prepare import OF_THEIR_OWN, prepare_whole

        config, origin = self._resolved(study_id, trial, origins)
        device, given = torch.device(self._device), origin.given(config) if origin else OF_THEIR_OWN
        made = prepare_whole(
            self._local(config), device=torch.device("cpu"), data_folders=self._library.folders, given=given
        )
        config = config.model_copy(update={"cross_validation": None, "seeds": seeds})
        return config, placed(made, device, room_on(device, self._device_share)), origin

    def _resolved(
        self, study_id: int, trial: Mapping[str, Any], origins: Mapping[str, AttemptKey]
    ) -> tuple[TrainConfig, Origin | None]:
        """The configuration, complete, and what a pretrained model begins with."""
        config = TrainConfig.model_validate(trial)
        origin = self._origins_of(study_id, origins).of(config)
        return origin.resolve(config) if origin else config, origin

    def _membership(self, told: Membership) -> Member:
        from trainer.fit import Membership as Member

        return Member(self._artifacts.attempt(told.copies) if told.copies else None, told.ends)

    def _origins_of(self, study_id: int, attempts: Mapping[str, AttemptKey]) -> Origins:
        """Pretrained models, kept in memory for the study's next trials."""
        if self._origins is None or self._origins[0] != study_id:
            self._origins = (study_id, self._fresh_origins(attempts))
        return self._origins[1]

    def _fresh_origins(self, attempts: Mapping[str, AttemptKey]) -> Origins:
        from trainer.transfer import Origins

        trials = {source: self._artifacts.attempt(key) for source, key in attempts.items()}
        return Origins(self._library.folders, trials, hub=self._hub)

    def _prepare(self, study_id: int, config: TrainConfig, origin: Origin | None) -> Prepared | Folds:
        """The data on the device, kept for the study's next trials; another study reads its files anew."""
        import torch

        from trainer.data.mapped import placed, room_on

        key = (study_id, config.preparation)
        if key not in self._prepared:
            while len(self._prepared) >= KEPT_DATA_SETS:
                self._prepared.popitem(last=False)
            make = partial(self._made, config, origin)
            made = self._shelf.take(study_id, config.preparation, make) if self._shelf else make()
            device = torch.device(self._device)
            self._prepared[key] = placed(made, device, room_on(device, self._device_share))
        self._prepared.move_to_end(key)
        return self._prepared[key]

    def _made(self, config: TrainConfig, origin: Origin | None) -> Prepared | Folds:
        """The data in the host's memory."""
        import torch

        from trainer.data.prepare import OF_THEIR_OWN, prepare_for

        return prepare_for(
            self._local(config),
            device=torch.device("cpu"),
            data_folders=self._library.folders,
            given=origin.given(config) if origin else OF_THEIR_OWN,
        )

    def _local(self, config: TrainConfig) -> TrainConfig:
        return config.model_copy(update={"data": self._library.local(config.data)})


def warm_up() -> None:
    """Import what trainings need, which takes seconds, where it is installed."""
    if find_spec("torch") is not None:
        import trainer.fit
        import trainer.preflight  # noqa: F401 - for whoever imports it next


def _rows_of_epoch(config: TrainConfig, prepared: Prepared | Folds) -> int:
    """How many rows are trained on, by all the models of the trial."""
    from trainer.data.prepared import Prepared

    parts = [prepared] * config.seeds if isinstance(prepared, Prepared) else prepared.parts
    return sum(part.train.rows for part in parts)


def _held_by_others() -> float:
    """The share of the device's memory that is taken, and not by this process's tensors."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return (total - free - torch.cuda.memory_reserved()) / total
