"""A training between two epochs: everything the next epoch depends on, and nothing else. It can be put into a
checkpoint and taken out again, and goes on bit for bit as if nothing had happened."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from trainer import predictions
from trainer.checkpoint import Checkpoint, below, identity, prefixed
from trainer.compiled import Passes
from trainer.compress import Masks, masks_of, model_in, share_before, steps_of, without_units
from trainer.config import TrainConfig
from trainer.costs import Costs
from trainer.data.prepared import Part, Prepared
from trainer.errors import Diverged
from trainer.freezing import freeze, parameter_groups
from trainer.heritage import take_over
from trainer.init import initialize
from trainer.int8 import quantized
from trainer.judged import Judged, placed
from trainer.loop import Learner, evaluate
from trainer.members import Member
from trainer.metrics import measure
from trainer.models.build import build
from trainer.models.layers import Network
from trainer.optim import make_optimizer, restore_state, tensors_of
from trainer.precision import Precision
from trainer.predictions import Predictions
from trainer.progress import Best, Monitor, Patience, Plateau
from trainer.ranks import ALONE, Ranks
from trainer.snapshots import assemble
from trainer.transfer import Origin


class Training:
    """The state of one training. `config.seed` and the device decide all that is random in it."""

    def __init__(
        self,
        config: TrainConfig,
        prepared: Prepared,
        monitor: Monitor,
        origin: Origin | None = None,
        heritage: Mapping[str, Tensor] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """`origin` is what a pretrained model begins with; the configuration has been resolved by it. `heritage` are
        weights to begin with as far as they fit. All ranks that train together make the same training.
        """
        self.epoch = 0  # finished ones
        self.metrics: dict[str, float] = {}
        self.best: Best | None = None
        self.costs = Costs(prepared)
        self._config, self._prepared, self._monitor, self._ranks = config, prepared, monitor, ranks
        self._patience = Patience(config.early_stopping) if config.early_stopping else None
        self._plateau = Plateau(config.schedule) if config.schedule.name == "plateau" else None
        self._origin, self._heritage = origin, heritage or {}
        self._is_small = config.compression is not None and config.compression.int8
        self.outputs: dict[str, Tensor] = {}  # of the best epoch's model: `val` and `test`
        self._said: Tensor | None = None  # what the last epoch's model said of the validation part
        self.inherited = 0.0  # of the model's numbers, the share that it began with
        self._model_config = config.model  # narrower after units have been taken out
        self._masks: Masks | None = None
        self._steps = frozenset(steps_of(config.compression, config.epochs))
        # Order and dropout are drawn on the device; weights on the CPU, so that they are the same on every device.
        self._generator = torch.Generator(prepared.device).manual_seed(config.seed)
        self._noise = ranks.noise(self._generator)
        self._passes = Passes(config, prepared.device, ranks.size)
        self._judged = Judged(config, prepared)
        model, self.made_anew = self._first_model()
        self._begin_with(model)

    @property
    def over(self) -> bool:
        exhausted = self._patience is not None and self._patience.exhausted and not self.will_compress
        return exhausted or self.epoch >= self._config.epochs

    @property
    def config(self) -> TrainConfig:
        """What builds the model as it is now."""
        return self._config.model_copy(update={"model": self._model_config})

    @property
    def compresses_now(self) -> bool:
        """Whether the next epoch begins with a step of the compression: what was the best so far counts no more."""
        return self.epoch in self._steps

    @property
    def will_compress(self) -> bool:
        return any(step >= self.epoch for step in self._steps)

    def notes(self) -> list[str]:
        """What was decided on the way, for the log; each once."""
        notes, self._passes.notes = self._passes.notes, []
        return notes

    @property
    def members(self) -> list[Member]:
        """The one model that this trains."""
        return [Member(self.model, self._prepared.schema)]

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch, validate, and see what it is worth.

        Raises:
            Diverged: a loss or a metric is not finite.
        """
        if self.compresses_now:
            self.best = None
            if self._patience:
                self._patience.reset()
        self.advance()
        if self.best is None or self._monitor.prefers(self.metrics, to=self.best.metrics):
            self.keep()
        if self._patience:
            self._patience.observe(self.metrics)
        return self.metrics

    def advance(self) -> dict[str, float]:
        """Train one epoch and validate.

        Raises:
            Diverged: a loss or a metric is not finite.
        """
        self._judged.before_epoch(self.epoch)
        if self.compresses_now:
            self._compress()
        if self._config.model.name == "pretrained":
            freeze(self.model, self._config, self.epoch)
        loss = self._train_epoch()
        self._ranks.even_out([self.model, *(follower.model for follower in self._judged.followers)])
        self.epoch += 1
        self._judged.after_epoch(self.epoch)
        measured = {"train/loss": loss} | self._validated()
        self.metrics = self._ranks.agreed(lambda: measured)
        refuse_divergence(self.epoch, self.metrics)
        if self._plateau:
            self._plateau.observe(self.metrics)
        if self._config.compression:
            self.costs.measure(self._judged.model)
        return self.metrics

    def _train_epoch(self) -> float:
        """The mean of the losses."""
        followers = self._judged.followers
        began_at = time.perf_counter()
        with self._precision.epoch():
            loss = self._learner.train_epoch(
                self._prepared.train,
                self.epoch,
                self._generator,
                lr_scale=self._plateau.scale if self._plateau else 1.0,
                followers=[self._masks, *followers] if self._masks else followers,
            )
        self._passes.took(time.perf_counter() - began_at, self._config.epochs - self.epoch - 1)
        return loss

    def _validated(self) -> dict[str, float]:
        """What the model is worth on the validation rows, if there are any."""
        held = self._prepared.validation
        if not held.rows:
            return {}
        self._said = evaluate(self._judged.model, held, self._ranks)
        return self._metrics("val", self._said, held)

    def keep(self) -> None:
        """Remember this epoch as the best one."""
        self.best = Best(self.epoch, self.metrics, self._judged.weights())
        self.outputs = {"val": self._said} if self._said is not None and not self._is_small else {}

    def restore_best(self) -> Best:
        """Put the weights of the best epoch back into the model, and measure the test part with them, if there is one.

        Returns:
            The best epoch, with its `test/…` metrics among the others. Of a model in eight bits `val/…` are its own.
        """
        best = self.load_best()
        measured = self.measured("val") if self._is_small and self._prepared.validation.rows else {}
        if self._prepared.test is not None:
            measured |= self.measured("test")
        metrics = best.metrics | self._ranks.agreed(lambda: measured)
        refuse_divergence(best.epoch, metrics)
        return Best(best.epoch, metrics, best.weights)

    def measured(self, name: Literal["val", "test"]) -> dict[str, float]:
        """The metrics of the best epoch's model, which `load_best` has put back, on a part that is there."""
        part = self._prepared.validation if name == "val" else self._prepared.test
        if part is None:
            raise ValueError("there is no test part")
        return self._metrics(name, self.outputs[name], part)

    def load_best(self) -> Best:
        """Put the weights of the best epoch back into the model, and find out what it says of the rows that it was not
        trained on.
        """
        if self.best is None:
            raise ValueError("no epoch has been trained")
        best = assemble(self._model_config, self._prepared.schema, self.best.weights)
        self.model = placed(best, self._prepared.device)
        self._judged.end()  # the best weights are its own
        if self._is_small:
            self.model = quantized(self.model)
        if self._config.compression:
            self.costs.measure(self.model)
        self.outputs |= predictions.outputs_of(self.model, self._prepared, self._ranks, but=self.outputs)
        return self.best

    def predictions(self) -> Predictions | None:
        """What the model put back by `load_best` says of the rows that it was not trained on; None where none of them
        validate.
        """
        if not self._prepared.validation.rows:
            return None
        return predictions.of_outputs(self.outputs, self._prepared, self._config.loss.predicted)

    def checkpoint(self) -> Checkpoint:
        """The state after this epoch, at least one."""
        best, patience, plateau = self.best, self._patience, self._plateau
        tensors = {"generator": self._generator.get_state()}
        tensors |= prefixed("model", self.model.state_dict()) | self._judged.tensors()
        tensors |= prefixed("mask", self._masks.kept) if self._masks else {}
        tensors |= prefixed("optimizer", tensors_of(self._optimizer))
        if best and best.epoch != self.epoch and self._config.checkpoint.keep == "best_and_last":
            tensors |= prefixed("best", best.weights)
        scalars = {
            "config": identity(self._config),
            "metrics": self.metrics,
            "precision": self._precision.state(),
            "passes": self._passes.state(),
            "followers": self._judged.taken(),
            "seconds": self.costs.seconds,
            "best": {"epoch": best.epoch, "metrics": best.metrics} if best else None,
            "patience": patience.state() if patience else None,
            "plateau": plateau.state() if plateau else None,
        }
        return Checkpoint(self.epoch, tensors, scalars)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this very training."""
        tensors, scalars = checkpoint.tensors, checkpoint.scalars
        self.epoch, self.metrics, self.costs.seconds = checkpoint.epoch, scalars["metrics"], scalars["seconds"]
        self.outputs = {}  # those of the best epoch are found again at the end
        self._begin_with(self._model_of_epoch(self.epoch - 1))
        self.model.load_state_dict(below("model", tensors))
        kept = below("mask", tensors)
        self._masks = Masks({name: mask.to(self._prepared.device) for name, mask in kept.items()}) if kept else None
        self._judged.restore(tensors, scalars["followers"])
        self._precision.restore(scalars["precision"])
        self._passes.restore(scalars["passes"])
        restore_state(self._optimizer, list(self.model.parameters()), below("optimizer", tensors))
        self._generator.set_state(tensors["generator"])
        if self._patience:
            self._patience.restore(scalars["patience"])
        if self._plateau:
            self._plateau.restore(scalars["plateau"])
        weights = {name: tensor.to(self._prepared.device) for name, tensor in below("best", tensors).items()}
        if weights:
            self.best = Best(scalars["best"]["epoch"], scalars["best"]["metrics"], weights)
        else:  # this epoch is the best, or with `keep: last` the best of those whose weights are still there
            self.best = Best(self.epoch, self.metrics, self._judged.weights())

    def _metrics(self, name: str, outputs: Tensor, part: Part) -> dict[str, float]:
        target, quantile = self._prepared.schema.target, self._config.loss.predicted
        metrics = measure(outputs, part.y, target.deviation, quantile)
        return {f"{name}/{metric}": value for metric, value in metrics.items()}

    def _first_model(self) -> tuple[Network, list[str]]:
        """The model as it begins, and of a pretrained one the tensors that the source did not have."""
        model = build(self._config.model, self._prepared.schema, self._noise)
        _draw_weights(model, self._config)
        if self._heritage:
            self.inherited = take_over(model, self._heritage)
        if self._origin is None:
            return model, []
        return model, self._origin.begin(model, self._prepared.schema.target)

    def _model_of_epoch(self, epoch: int) -> Network:
        """The model of the size that it has in an epoch; its weights are yet to come."""
        self._model_config = model_in(self._config, epoch)
        return build(self._model_config, self._prepared.schema, self._noise)

    def _begin_with(self, model: Network) -> None:
        """Train a model from here on: the optimizer and the averages know nothing of another one."""
        config, self.model = self._config, self._ranks.joined(placed(model, self._prepared.device))
        self.costs.resize(self.model)
        self._precision = Precision(config.precision, self.model, self._prepared.device)
        learned = parameter_groups(self.model, config.transfer) if self._origin else self.model.parameters()
        self._optimizer = make_optimizer(learned, config.optimizer)
        told = (config, self._noise, self._prepared.class_weight, self._precision, self._passes, self._ranks)
        self._learner = Learner(self.model, self._optimizer, *told)
        self._judged.begin(self.model, self._model_config)

    def _compress(self) -> None:
        """Take a step: fewer units in a new model, or more weights at zero in the same."""
        rule = self._config.compression
        if rule and rule.name == "units":
            old, new = self.model, self._model_of_epoch(self.epoch)
            new.load_state_dict(without_units(old, new))
            self._begin_with(new)
            return
        self._masks = masks_of(self.model, share_before(self._config, self.epoch))
        if rule and rule.rewind:
            self.model.load_state_dict(self._first_model()[0].state_dict())
        self._masks.after_step(self.model, 0)
        self._begin_with(self.model)


def _draw_weights(model: Network, config: TrainConfig) -> None:
    knobs, generator = config.model, torch.Generator().manual_seed(config.seed)
    initialize(model, knobs.init, knobs.activation, generator, zero_residual=knobs.zero_residual)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)  # so that a model begins as its source was


def refuse_divergence(epoch: int, metrics: Mapping[str, float]) -> None:
    """Raises: Diverged: one of the metrics is not finite."""
    broken = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise Diverged(epoch, ", ".join(broken))
