"""How the network is trained: optimizer, schedule, penalties, loss, and when it ends."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from trainer.config.base import ColumnName, Count, NonNegative, Probability, Rate, Section
from trainer.config.model import MOST_MODELS

LOSSES = {
    "classification": frozenset({"auto", "cross_entropy", "focal", "bce"}),
    "regression": frozenset({"auto", "mse", "mae", "huber", "quantile"}),
}
DropoutShape = Literal["brick", "even", "funnel", "long_funnel", "diamond", "hexagon", "triangle", "stairs"]


class Optimizer(Section):
    """One by name. A knob that the named one does not have is ignored: see ONLY_WITH."""

    name: Literal["sgd", "adam", "adamw", "nadam", "lion", "rmsprop", "adagrad"] = "adamw"
    lr: Annotated[FiniteFloat, Field(gt=0, le=100)] = 1e-3
    weight_decay: NonNegative = 0.0  # decoupled from the gradient for every optimizer (Loshchilov and Hutter 2019)
    momentum: Probability = 0.0
    nesterov: bool = False
    beta1: Probability = 0.9
    beta2: Probability = 0.999
    alpha: Probability = 0.99
    eps: Rate = 1e-8
    lookahead_steps: Annotated[int, Field(ge=0, le=1000)] = 0  # steps between two of the slow weights; 0 is off
    lookahead_size: Annotated[FiniteFloat, Field(gt=0, le=1)] = 0.5  # the share of the way that the slow ones go


class Schedule(Section):
    """The learning rate over the epochs, after a linear warm-up."""

    name: Literal[
        "constant", "step", "multi_step", "exponential", "linear", "polynomial", "cosine", "cosine_restarts",
        "one_cycle", "plateau",
    ] = "constant"  # fmt: skip
    warmup_epochs: NonNegative = 0.0
    step_epochs: Count = 10  # step: multiply by `factor` every so many epochs
    milestones: Annotated[list[Count], Field(max_length=64)] = Field(
        default=[]
    )  # multi_step: multiply by `factor` after these epochs
    factor: Annotated[FiniteFloat, Field(gt=0, le=1)] = 0.1  # exponential: multiply by it over each epoch
    min_factor: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0  # the share of lr reached at the end
    power: Rate = 2.0  # polynomial
    restart_epochs: Count = 10  # cosine_restarts: epochs of the first fall
    restart_growth: Annotated[int, Field(ge=1, le=10)] = 1  # cosine_restarts: how much longer each next one takes
    plateau_epochs: Count = 3  # plateau: multiply by `factor` after so many epochs without a lower val/loss


class Regularization(Section):
    """Penalties and noise. The loss gains l1 * sum |w| + l2 * sum w^2, over weights and not over biases."""

    l1: NonNegative = 0.0
    l2: NonNegative = 0.0
    dropout: Probability = 0.0
    dropout_shape: DropoutShape = "brick"
    stochastic_depth: Probability = 0.0  # of the last residual branch; of earlier ones less
    shake_drop: Probability = 0.5  # likewise
    label_smoothing: Probability = 0.0
    max_grad_norm: Rate | None = None
    max_grad_value: Rate | None = None
    ema: Probability = 0.0  # validate and keep the moving average of the weights, with this decay; 0 is off
    swa: bool = False  # validate and keep the mean of the weights that the last epochs end with
    swa_start: Probability = 0.75  # the share of the epochs before the first of them
    swa_lr: Annotated[FiniteFloat, Field(gt=0, le=100)] | None = None  # from there on; else the schedule's
    snapshots: Annotated[int, Field(ge=0, le=32)] = 0  # so many falls of cosine_restarts predict together; 0 is off

    @model_validator(mode="after")
    def _one_average(self) -> Self:
        if self.ema and self.swa:
            raise ValueError("ema and swa each average the weights; set ema to 0 or swa to false")
        return self


class Loss(Section):
    """What a step goes down. `auto` is the cross-entropy of a classification, and mse of a regression."""

    name: Literal["auto", "cross_entropy", "focal", "bce", "mse", "mae", "huber", "quantile"] = "auto"
    gamma: NonNegative = 2.0
    delta: Rate = 1.0  # in deviations of the target
    quantile: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.5  # that is predicted

    @property
    def predicted(self) -> float | None:
        """The quantile that is predicted in place of the mean."""
        return self.quantile if self.name == "quantile" else None


class EarlyStopping(Section):
    """Stop when `metric` has not improved by more than `min_delta` for `patience` epochs."""

    metric: Annotated[str, Field(pattern=r"^(train|val)/[a-z0-9_]+$")] = "val/loss"
    patience: Count = 5
    min_delta: NonNegative = 0.0


class CrossValidation(Section):
    """Every row validates once a repeat: as many models a trial as there are folds, whose mean the search looks at."""

    folds: Annotated[int, Field(ge=2, le=50)] = 5
    stratified: bool = True  # of a classification
    groups: ColumnName | None = None  # rows with one value of it stay in one fold; it is no feature
    repeats: Annotated[int, Field(ge=1, le=50)] = 1  # divided anew, and trained from other seeds
    time_ordered: bool = False  # each fold trains on what is before its validation rows: by data.split.time, or as read

    @property
    def models(self) -> int:
        return self.folds * self.repeats

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.models > MOST_MODELS:
            raise ValueError(
                f"{self.models} models a trial are too many; let folds times repeats be {MOST_MODELS} at most"
            )
        if self.time_ordered and self.groups is not None:
            raise ValueError("rows are divided by their order or by groups; leave time_ordered or groups out")
        if self.time_ordered and self.repeats > 1:
            raise ValueError("there is one way to divide rows by their order; leave repeats out")
        # What a training has left behind names every key, also those that nobody had told.
        is_told = "stratified" in self.model_fields_set < type(self).model_fields.keys()
        if self.time_ordered and self.stratified and is_told:
            raise ValueError("rows divided by their order are not stratified; leave stratified out")
        return self


class Checkpoint(Section):
    """How often the state of a training is written, so that a killed one goes on from there: every so many epochs, but
    not before `every_seconds` have passed since the last. Where an epoch is shorter than writing its state to disk,
    training for a second again costs less than having written a hundred checkpoints.

    `last` leaves out the weights of an earlier best epoch: checkpoints are a third smaller, but a training that is
    resumed then ends with the best of the epochs since.
    """

    every_epochs: Count = 1
    every_seconds: NonNegative = 1.0
    keep: Literal["last", "best_and_last"] = "best_and_last"
