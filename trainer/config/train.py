"""The `trial` section of `kind: train`, whole, and what its sections may not say together."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.config.base import Count, Section, Seed
from trainer.config.data import Data
from trainer.config.layered import LAYERED
from trainer.config.model import (
    IMAGE_MODELS,
    MOST_MODELS,
    NORMED,
    PRETRAINED,
    TEXT_MODELS,
    TRANSFORMERS,
    Compression,
    Model,
    Transfer,
)
from trainer.config.steps import (
    LOSSES,
    Checkpoint,
    CrossValidation,
    EarlyStopping,
    Loss,
    Optimizer,
    Regularization,
    Schedule,
)


class TrainConfig(Section):
    """The `trial` section of `kind: train`."""

    kind: Literal["train"] = "train"
    data: Data
    model: Model = Model()
    transfer: Transfer = Transfer()
    compression: Compression | None = None
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    regularization: Regularization = Regularization()
    early_stopping: EarlyStopping | None = None
    epochs: Count = 20
    batch_size: Annotated[int, Field(ge=1, le=1_048_576)] = 128
    accumulate: Annotated[int, Field(ge=1, le=65_536)] = 1  # batches whose gradients make one step
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "fp32"
    compile: Literal["auto", True, False, "cuda_graphs"] = False  # auto: where it is found to pay for itself
    sampling: Literal["shuffle", "balanced"] = "shuffle"  # balanced: draws every class equally often, with replacement
    cross_validation: CrossValidation | None = None
    checkpoint: Checkpoint = Checkpoint()
    seed: Seed = 0
    seeds: Annotated[int, Field(ge=1, le=MOST_MODELS)] = 1  # so many models a trial, from `seed` on, and their mean

    @property
    def preparation(self) -> str:
        """What the prepared data depend on; trainings with equal ones share them."""
        folds = self.cross_validation.model_dump_json() if self.cross_validation else ""
        return f"{self.takes_images} {self.model.source} {self.data.preparation} {folds}"

    @property
    def takes_images(self) -> bool:
        """Whether a source that can be read both ways is to be read as images."""
        architecture = self.model.architecture or {}
        named = architecture.get("name", self.model.name)
        return named in IMAGE_MODELS or ("model_type" in architecture and self.data.text is None)

    @model_validator(mode="after")
    def _texts_have_models_of_their_own(self) -> Self:
        if self.data.text is None and self.model.name in TEXT_MODELS:
            raise ValueError(f"model.name: {self.model.name} learns from a text; name its column in data.text")
        if self.data.text is not None and self.model.name not in TEXT_MODELS | PRETRAINED:
            takes = " or ".join(sorted(TEXT_MODELS))
            raise ValueError(f"model.name: {self.model.name} cannot read data.text; take {takes}")
        return self

    @model_validator(mode="after")
    def _folds_divide_by_themselves(self) -> Self:
        split = self.data.split
        if self.cross_validation and (split.groups or split.duplicates == "together"):
            raise ValueError(
                "cross_validation: folds are divided by its own groups; leave data.split.groups and "
                "duplicates: together out"
            )
        if self.cross_validation and split.time and not self.cross_validation.time_ordered:
            raise ValueError(
                f"cross_validation.time_ordered: {split.time} in data.split.time is an order, and folds are drawn at "
                "random; set it to true, or leave data.split.time out"
            )
        return self

    @model_validator(mode="after")
    def _only_what_is_there_is_transferred(self) -> Self:
        told = [key for key, value in self.transfer if value != Transfer.model_fields[key].default]
        if self.transfer.inherit != "none":
            told.remove("inherit")
            if self.model.name == "pretrained":
                raise ValueError("transfer.inherit: a pretrained model begins with its source; set it to none")
        if self.model.name != "pretrained" and told:
            raise ValueError(f"transfer.{told[0]}: acts only with model.name pretrained, and it is {self.model.name}")
        return self

    @model_validator(mode="after")
    def _folds_have_seeds_of_their_own(self) -> Self:
        if self.cross_validation and self.seeds > 1:
            raise ValueError("cross_validation.repeats: folds are repeated from other seeds by it; leave seeds out")
        return self

    @model_validator(mode="after")
    def _graphs_have_a_batch_a_step(self) -> Self:
        if self.compile == "cuda_graphs" and self.accumulate > 1:
            raise ValueError("compile: cuda_graphs keeps the gradients of one batch only; let accumulate be 1")
        return self

    @model_validator(mode="after")
    def _words_have_no_gradient(self) -> Self:
        if self.data.text is not None and "fgsm" in self.data.augment.chosen:
            raise ValueError("data.augment.fgsm: words cannot be moved uphill by a little; set it to 0 for texts")
        return self

    @model_validator(mode="after")
    def _shares_of_a_width_are_equal(self) -> Self:
        model = self.model
        if model.name in TRANSFORMERS and model.width % model.heads:
            fitting = ", ".join(str(heads) for heads in range(1, 65) if model.width % heads == 0)
            raise ValueError(
                f"model.heads: {model.heads} heads do not divide a width of {model.width}; take one of {fitting}"
            )
        if model.norm != "group" or model.name not in NORMED:
            return self
        widths = {"cnn": model.stage_channels, **dict.fromkeys(LAYERED["model.hidden"], model.hidden)}
        for width in widths.get(model.name, [model.width]):
            if width % model.groups:
                raise ValueError(
                    f"model.groups: {model.groups} groups do not divide a width of {width}; take a number that does"
                )
        return self

    @model_validator(mode="after")
    def _each_stage_has_a_cell(self) -> Self:
        cells, stages = len(self.model.cells), len(self.model.stage_channels)
        if self.model.name == "cnn" and cells not in (0, stages):
            raise ValueError(f"model.cells: names {cells} cells for {stages} stages; name one for each")
        return self

    @model_validator(mode="after")
    def _label_smoothing_needs_classes(self) -> Self:
        if self.data.task == "regression" and self.regularization.label_smoothing > 0:
            raise ValueError("regularization.label_smoothing: a regression has no labels to smooth; set it to 0")
        return self

    @model_validator(mode="after")
    def _a_loss_has_its_task(self) -> Self:
        if self.data.task != "auto" and self.loss.name not in LOSSES[self.data.task]:
            takes = ", ".join(sorted(LOSSES[self.data.task]))
            raise ValueError(f"loss.name: {self.loss.name} is no loss of a {self.data.task}; take {takes}")
        return self
