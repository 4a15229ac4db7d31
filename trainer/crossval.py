"""Several trainings of one configuration, on folds or from seeds, that advance together one epoch at a time: the search
sees their mean after each epoch, and may prune by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from torch import Tensor

from trainer import predictions
from trainer.checkpoint import Checkpoint, below, identity, prefixed
from trainer.config import TrainConfig
from trainer.costs import Costs
from trainer.data.prepared import Folds, Prepared
from trainer.heritage import Heritage
from trainer.members import Member, mean_outputs
from trainer.metrics import measure
from trainer.predictions import Predictions
from trainer.progress import Best, Monitor, Patience
from trainer.ranks import ALONE, Ranks
from trainer.training import Training, refuse_divergence
from trainer.transfer import Origin


class JointTraining:
    """As a `Training`, of several models. Which epoch is the best, and when patience is over, their mean decides: one
    epoch for all, so that no model is stopped at the luckiest epoch of its own few rows.

    It reports the mean of each metric, its standard error as `val/<metric>_se`, and of each model the objective and the
    loss as `fold/<number>/<metric>` or `seed/<number>/<metric>`, numbered from 1; the folds of a second repeat follow
    those of the first.
    """

    def __init__(
        self,
        config: TrainConfig,
        prepared: Prepared | Folds,
        monitor: Monitor,
        origin: Origin | None = None,
        heritage: Heritage | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """On folds those of one repeat are trained from the same seed; on rows that are the same for all, from
        `config.seeds` seeds.
        """
        self.metrics: dict[str, float] = {}
        self.best: Best | None = None  # its weights are with the trainings
        self._config, self._monitor = config, monitor
        self._folds = prepared if isinstance(prepared, Folds) else None
        if isinstance(prepared, Folds):
            self._parts, of_one_seed = prepared.parts, len(prepared.parts) // prepared.repeats
        else:
            self._parts, of_one_seed = (prepared,) * config.seeds, 1
        self._trainings = []
        for place, part in enumerate(self._parts):
            seed = (config.seed + place // of_one_seed) % 2**32
            own = config.model_copy(update={"early_stopping": None, "seed": seed})
            weights = heritage.of_member(place) if heritage else None
            self._trainings.append(Training(own, part, monitor, origin, weights, ranks))
        self._patience = Patience(config.early_stopping) if config.early_stopping else None

    @property
    def epoch(self) -> int:
        return self._trainings[0].epoch

    @property
    def costs(self) -> Costs:
        """Those of all together; the size is of one model, the first."""
        return self._trainings[0].costs

    @property
    def made_anew(self) -> list[str]:
        return self._trainings[0].made_anew

    @property
    def inherited(self) -> float:
        return self._trainings[0].inherited

    @property
    def over(self) -> bool:
        exhausted = self._patience is not None and self._patience.exhausted and not self._trainings[0].will_compress
        return exhausted or self.epoch >= self._config.epochs

    @property
    def config(self) -> TrainConfig:
        """What builds the models as they are now."""
        return self._config.model_copy(update={"model": self._trainings[0].config.model})

    def notes(self) -> list[str]:
        """What was decided on the way, for the log; each once."""
        return list(dict.fromkeys(note for training in self._trainings for note in training.notes()))

    @property
    def members(self) -> list[Member]:
        return [member for training in self._trainings for member in training.members]

    def run_epoch(self) -> dict[str, float]:
        """Train each model for one epoch, and see what it was worth in the mean.

        Raises:
            Diverged: a loss or a metric of one of them is not finite.
        """
        if self._trainings[0].compresses_now:
            self.best = None
            if self._patience:
                self._patience.reset()
        self.metrics = self._summary([training.advance() for training in self._trainings])
        if self.best is None or self._monitor.prefers(self.metrics, to=self.best.metrics):
            self.best = Best(self.epoch, self.metrics, {})
            for training in self._trainings:
                training.keep()
        if self._patience:
            self._patience.observe(self.metrics)
        return self.metrics

    def restore_best(self) -> Best:
        """Put the weights of the best epoch back into the models, and measure the test part with their mean."""
        if self.best is None:
            raise ValueError("no epoch has been trained")
        for training in self._trainings:
            training.load_best()
        metrics = dict(self.best.metrics)
        is_small = self._config.compression is not None and self._config.compression.int8
        if is_small and self._parts[0].validation.rows:
            metrics |= self._summary([training.measured("val") for training in self._trainings])
        test = self._parts[0].test
        if test is not None:
            outputs = [training.outputs["test"] for training in self._trainings]
            targets = [member.schema.target for member in self.members]
            measured = measure(
                mean_outputs(outputs, targets), test.y, targets[0].deviation, self._config.loss.predicted
            )
            metrics |= {f"test/{name}": value for name, value in measured.items()}
        refuse_divergence(self.best.epoch, metrics)
        return Best(self.best.epoch, metrics, {})

    def predictions(self) -> Predictions | None:
        """What the models say together of the rows that they were not trained on. On folds each validation row is
        predicted by the one model of a repeat that has not seen it, and is once among them. None where no row is.
        """
        own = [found for training in self._trainings if (found := training.predictions()) is not None]
        if not own:
            return None
        return predictions.of_seeds(own) if self._folds is None else predictions.of_folds(own, self._folds)

    def checkpoint(self) -> Checkpoint:
        """The state of all after this epoch, at least one."""
        best, patience = self.best, self._patience
        states = [training.checkpoint() for training in self._trainings]
        tensors: dict[str, Tensor] = {}
        for index, state in enumerate(states):
            tensors |= prefixed(f"member.{index}", state.tensors)
        scalars = {
            "config": identity(self._config),
            "metrics": self.metrics,
            "best": {"epoch": best.epoch, "metrics": best.metrics} if best else None,
            "patience": patience.state() if patience else None,
            "members": [state.scalars for state in states],
        }
        return Checkpoint(self.epoch, tensors, scalars)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this very training."""
        scalars = checkpoint.scalars
        for index, (training, own) in enumerate(zip(self._trainings, scalars["members"], strict=True)):
            training.restore(Checkpoint(checkpoint.epoch, below(f"member.{index}", checkpoint.tensors), own))
        self.metrics = scalars["metrics"]
        if self._patience:
            self._patience.restore(scalars["patience"])
        kept = self._trainings[0].best
        if kept is not None and kept.epoch == scalars["best"]["epoch"]:
            self.best = Best(kept.epoch, scalars["best"]["metrics"], {})
        else:  # with `keep: last`, the best of the epochs whose weights are still there
            self.best = Best(self.epoch, self.metrics, {})

    def _summary(self, measured: Sequence[dict[str, float]]) -> dict[str, float]:
        """Means, standard errors (the deviation between the models over the root of their number), single values."""
        columns = {name: [each[name] for each in measured] for name in measured[0]}
        summary = {name: fmean(values) for name, values in columns.items()}
        for name, values in columns.items():
            if name.startswith("val/"):
                summary[f"{name}_se"] = stdev(values) / math.sqrt(len(values))
        kind = "seed" if self._folds is None else "fold"
        for name in dict.fromkeys((self._monitor.metric, "val/loss")):
            if name.startswith("val/") and name in columns:
                quantity = name.removeprefix("val/")
                singles = {f"{kind}/{at}/{quantity}": value for at, value in enumerate(columns[name], start=1)}
                summary |= singles
        return summary
