"""What a training may be told: the `trial` section of a study, as typed models. Torch-free, so that the server and the
scheduler validate with the same code that the trainer obeys.

Every leaf is a knob: its dotted path (`optimizer.lr`) may stand under `parameters` of a study.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from trainer import generators

Rate = Annotated[FiniteFloat, Field(gt=0)]
NonNegative = Annotated[FiniteFloat, Field(ge=0)]
Probability = Annotated[FiniteFloat, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Width = Annotated[int, Field(ge=1, le=65_536)]
ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
MOST_MODELS = 100  # of one trial
MODEL_SOURCE = r"^((hf|file):[^\x00-\x1f]{1,1024}|trial:[a-z0-9-]{1,64}/[0-9]{1,9})$"


def _known(source: str) -> str:
    """Of a source that is made up, whether it can be."""
    kind, _, name = source.partition(":")
    if kind == "synthetic":
        generators.parse(name)
    return source


Source = Annotated[
    str, Field(pattern=r"^(sklearn|file|dataset|synthetic):[^\x00-\x1f]{1,1024}$"), AfterValidator(_known)
]

TaskName = Literal["classification", "regression"]

CLASSIFICATION_METRICS = ("loss", "accuracy", "balanced_accuracy", "f1", "auc", "log_loss", "ece")
LOSSES = {
    "classification": frozenset({"auto", "cross_entropy", "focal", "bce"}),
    "regression": frozenset({"auto", "mse", "mae", "huber", "quantile"}),
}
REGRESSION_METRICS = ("loss", "rmse", "mae", "r2")
COST_METRICS = ("params", "flops", "seconds", "device_memory", "nonzero", "bytes", "latency")
WITH_COMPRESSION = ("nonzero", "bytes", "latency")  # those that are measured only where there is such a section


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Split(_Section):
    """Shares of the rows held out; stratified by class where the task is a classification."""

    validation: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.2
    test: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.2
    stratify: bool = True  # not with groups or time
    groups: ColumnName | None = None  # rows with one value of it are in one part; it is no feature
    time: ColumnName | None = None  # the latest rows test, those before validate; it is no feature
    duplicates: Literal["anywhere", "together", "drop"] = "anywhere"  # rows that are the same but for the target
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_thing_divides(self) -> Self:
        chosen = [name for name in ("groups", "time") if getattr(self, name) is not None]
        chosen += ["duplicates: together"] if self.duplicates == "together" else []
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} each decide where a row goes; choose one of them")
        return self

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation:g} and test {self.test:g} leave no rows to train on")
        return self


class Augment(_Section):
    """Changes to the rows of each batch that leave what they mean alone. 0 is off."""

    flip: bool = False  # images: left to right, every other one
    crop: Annotated[int, Field(ge=0, le=256)] = 0  # images: shifted by up to so many pixels
    rotation: Annotated[FiniteFloat, Field(ge=0, le=180)] = 0.0  # images: by up to so many degrees
    scaling: Annotated[FiniteFloat, Field(ge=0, le=0.9)] = 0.0  # images: larger or smaller by up to this share
    translation: Annotated[FiniteFloat, Field(ge=0, le=0.9)] = 0.0  # images: shifted by up to this share of a side
    colour: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0  # images: brightness, contrast, colour by up to this share
    erase: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0  # images: the share of them with a rectangle of noise
    randaugment: Annotated[int, Field(ge=0, le=30)] = 0  # images: how strong the two operations on each are
    cutout: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0  # a black square, its side; tables: this share of columns
    cutmix: Annotated[FiniteFloat, Field(ge=0, le=10)] = 0.0  # both parameters of the beta distribution of the share
    mixup: Annotated[FiniteFloat, Field(ge=0, le=10)] = 0.0  # likewise
    fgsm: NonNegative = 0.0  # how far each number goes uphill; tables: in normalized units; images: of black to white
    only: Literal["none", "mixup", "cutmix", "cutout", "fgsm"] | None = None  # of these four, the one that acts
    probability: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0  # mixup, cutmix, cutout: share of batches
    noise: NonNegative = 0.0  # deviation, in the units of fgsm
    feature_dropout: Probability = 0.0  # tables
    swap: Probability = 0.0  # tables: values taken from other rows; texts: tokens that change places with the next
    token_dropout: Probability = 0.0  # texts
    span_dropout: Probability = 0.0  # texts: likewise, but three tokens in a row

    @property
    def acting(self) -> Augment:
        """These, those off that `only` leaves out."""
        off = EXCLUSIVE - {self.only} if self.only else ()
        return self.model_copy(update=dict.fromkeys(off, 0.0))

    @property
    def chosen(self) -> frozenset[str]:
        """The names of those that are on."""
        return frozenset(name for name, value in self.acting if value and name not in ("only", "probability"))

    @model_validator(mode="after")
    def _one_way_of_mixing(self) -> Self:
        if {"mixup", "cutmix"} <= self.chosen:
            raise ValueError("mixup and cutmix each mix a batch with itself; set one of them to 0")
        return self


EXCLUSIVE = frozenset({"mixup", "cutmix", "cutout", "fgsm"})
# What the numbers of a table, and the channels of images, can be brought to a scale by
NORMALIZED = {
    "table": frozenset({"none", "standard", "minmax", "robust", "quantile", "power"}),
    "image": frozenset({"none", "standard", "minmax", "robust", "per_channel"}),
}
AUGMENTED = {
    "image": EXCLUSIVE
    | {"flip", "crop", "rotation", "scaling", "translation", "colour", "erase", "randaugment", "noise"},
    "table": EXCLUSIVE | {"noise", "feature_dropout", "swap"},
    "text": frozenset({"swap", "token_dropout", "span_dropout"}),
    "subwords": frozenset(),
}


OVERSAMPLERS = frozenset({"random", "smote", "borderline_smote", "adasyn"})


class Synthetic(_Section):
    """Rows of a table made up from those of the training part, class by class."""

    method: Literal[
        "none", "random", "smote", "borderline_smote", "adasyn", "gaussian_mixture", "gaussian_copula", "noise"
    ] = "none"
    share: Annotated[FiniteFloat, Field(ge=0, le=4)] = 1.0  # of what a class lacks to the largest, or of its own rows
    noise: NonNegative = 0.1  # in deviations of the class

    @model_validator(mode="after")
    def _classes_are_at_most_equal(self) -> Self:
        if self.method in OVERSAMPLERS and self.share > 1:
            raise ValueError(f"{self.method} fills classes up to the largest, at a share of 1; let share be 1 at most")
        return self


class Data(_Section):
    """Where the rows come from and how they are prepared; everything fitted is fitted on the training part only."""

    source: Source
    test_source: Source | None = None
    labels: Source | None = None  # of IDX images; left out, the file with `labels-idx1` for `images-idx3` in its name
    test_labels: Source | None = None
    task: Literal["auto", "classification", "regression"] = "auto"
    target: ColumnName | None = None  # the last column
    drop: list[ColumnName] = []
    missing_values: list[str] = []
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None  # by the file's ending
    quoting: Literal["standard", "none"] = "standard"  # none: a quotation mark in a field is a character like others
    text: ColumnName | None = None  # makes it a text task, learned from this column alone
    vocabulary: Count = 10_000  # so many of the training part's tokens are known, the most frequent ones
    lower_case: bool = True
    tokens: Literal["words", "subwords"] = "words"  # subwords: each word, and its runs of 3 and 4 letters besides
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 128  # what follows in a longer text is cut off
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None  # images of a folder are made squares of this side
    split: Split = Split()
    normalize: Literal["none", "standard", "minmax", "robust", "quantile", "power", "per_channel"] = "standard"
    impute: Literal["mean", "median", "most_frequent"] = "median"
    categorical: list[ColumnName] = []  # columns of numbers that are names, such as codes
    max_categories: Count | None = None  # of a column, the most frequent ones; the others share one
    min_category_rows: Count = 1  # rarer ones share one, too
    class_weight: Literal["none", "balanced"] = "none"
    augment: Augment = Augment()
    synthetic: Synthetic = Synthetic()

    @property
    def preparation(self) -> str:
        """What the prepared data depend on; equal ones are prepared once."""
        return self.model_dump_json(exclude={"augment"})


MODELS = {
    "table": frozenset({"linear", "mlp", "resnet", "ft_transformer"}),
    "image": frozenset({"linear", "mlp", "cnn", "resnet", "vit"}),
    "text": frozenset({"embedding_bag", "text_cnn", "transformer"}),
}
IMAGE_MODELS = frozenset({"cnn", "resnet", "vit"})  # those that take what may be either as images
TEXT_MODELS = MODELS["text"]
TRANSFORMERS = frozenset({"ft_transformer", "vit", "transformer"})
DEEP = frozenset({"cnn", "resnet"}) | TRANSFORMERS
PRETRAINED = frozenset({"pretrained"})


class Model(_Section):
    """A network by name. A knob that the named one does not have is ignored: see ONLY_WITH."""

    name: Literal[
        "linear", "mlp", "cnn", "resnet", "ft_transformer", "vit", "embedding_bag", "text_cnn", "transformer",
        "pretrained",
    ] = "mlp"  # fmt: skip
    source: Annotated[str, Field(pattern=MODEL_SOURCE)] | None = None  # pretrained: where the weights come from
    hidden: Annotated[list[Width], Field(max_length=64)] = [128, 64]
    activation: Literal["relu", "gelu", "silu", "tanh", "elu", "leaky_relu"] = "relu"
    norm: Literal["none", "batch", "layer", "group"] = "none"
    groups: Annotated[int, Field(ge=1, le=4096)] = 8  # of channels, each normalized by itself
    skip: Literal["none", "standard", "shake_shake", "shake_drop"] = "none"  # mlp: around every two hidden layers
    depth: Annotated[int, Field(ge=1, le=32)] = 3  # cnn: stages, each halving the image; resnet: blocks of each stage
    width: Annotated[int, Field(ge=1, le=4096)] = 32  # channels of the first stage; of tokens, their dimension
    expansion: Annotated[FiniteFloat, Field(ge=0.25, le=8)] = 2.0  # the layer within a block, in widths
    heads: Annotated[int, Field(ge=1, le=64)] = 4  # of attention; they divide the width
    patch: Annotated[int, Field(ge=1, le=256)] = 4  # vit: the side of the squares that an image is cut into
    channels: Annotated[list[Width], Field(max_length=32)] = []  # cnn: of each stage, in place of depth and width
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    init: Literal[
        "default", "kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "lecun_normal", "orthogonal",
        "truncated_normal",
    ] = "default"  # fmt: skip
    zero_residual: bool = False  # residual branches begin as nothing
    lora_rank: Annotated[int, Field(ge=0, le=1024)] = 0  # pretrained: of what is trained in place of weights; 0 is off
    lora_alpha: Annotated[int, Field(ge=1, le=100_000)] = 16  # over lora_rank, what the product is multiplied by
    lora_targets: Annotated[list[str], Field(max_length=64)] = []  # ends of layers' names; none: all linear ones
    architecture: dict[str, Any] | None = None  # of the source; the worker fills it in

    @property
    def stage_channels(self) -> list[int]:
        """The channels of each stage of a cnn: twice as many as in the one before, if they are not given."""
        return self.channels or [self.width * 2**stage for stage in range(self.depth)]

    @model_validator(mode="after")
    def _is_from_somewhere(self) -> Self:
        if self.name == "pretrained" and self.source is None:
            raise ValueError("pretrained needs a source, as in source: hf:<folder> or file:<model.safetensors>")
        return self


class Transfer(_Section):
    """How a pretrained model is trained on. Its blocks are counted from the input; the head is none of them."""

    freeze: Literal["none", "all_but_head", "blocks"] = "none"
    frozen_blocks: Annotated[int, Field(ge=0, le=10_000)] = 0  # blocks: so many, from the input on
    unfreeze_every: Annotated[int, Field(ge=0, le=1_000_000)] = 0  # epochs until the next block thaws; 0 is never
    head_lr: Annotated[FiniteFloat, Field(gt=0, le=10_000)] = 1.0  # times the learning rate, for the head
    lr_decay: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0  # times it again for each block further from the head


class Compression(_Section):
    """What is taken away during the training: in `steps` from `begin` to `end` of the epochs, with training between and
    after them.
    """

    name: Literal["none", "magnitude", "units"] = "none"  # single weights, or whole units and channels
    share: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.5  # of all weights, or of the units of each layer
    steps: Annotated[int, Field(ge=1, le=1000)] = 1
    begin: Probability = 0.5
    end: Probability = 0.75
    rewind: bool = False  # magnitude: what stays goes back to what it began with (Frankle and Carbin 2019)

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        if self.begin > self.end:
            raise ValueError(f"begin {self.begin:g} comes after end {self.end:g}")
        if self.rewind and self.name == "units":
            raise ValueError("rewind goes with magnitude: set it to false")
        return self


class Optimizer(_Section):
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


class Schedule(_Section):
    """The learning rate over the epochs, after a linear warm-up."""

    name: Literal[
        "constant", "step", "multi_step", "exponential", "linear", "polynomial", "cosine", "cosine_restarts",
        "one_cycle", "plateau",
    ] = "constant"  # fmt: skip
    warmup_epochs: NonNegative = 0.0
    step_epochs: Count = 10  # step: multiply by `factor` every so many epochs
    milestones: Annotated[list[Count], Field(max_length=64)] = []  # multi_step: multiply by `factor` after these epochs
    factor: Annotated[FiniteFloat, Field(gt=0, le=1)] = 0.1  # exponential: multiply by it over each epoch
    min_factor: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0  # the share of lr reached at the end
    power: Rate = 2.0  # polynomial
    restart_epochs: Count = 10  # cosine_restarts: epochs of the first fall
    restart_growth: Annotated[int, Field(ge=1, le=10)] = 1  # cosine_restarts: how much longer each next one takes
    plateau_epochs: Count = 3  # plateau: multiply by `factor` after so many epochs without a lower val/loss


DropoutShape = Literal["brick", "even", "funnel", "long_funnel", "diamond", "hexagon", "triangle", "stairs"]


class Regularization(_Section):
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


class Loss(_Section):
    """What a step goes down. `auto` is the cross-entropy of a classification, and mse of a regression."""

    name: Literal["auto", "cross_entropy", "focal", "bce", "mse", "mae", "huber", "quantile"] = "auto"
    gamma: NonNegative = 2.0
    delta: Rate = 1.0  # in deviations of the target
    quantile: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.5  # that is predicted


class EarlyStopping(_Section):
    """Stop when `metric` has not improved by more than `min_delta` for `patience` epochs."""

    metric: Annotated[str, Field(pattern=r"^(train|val)/[a-z0-9_]+$")] = "val/loss"
    patience: Count = 5
    min_delta: NonNegative = 0.0


class CrossValidation(_Section):
    """Every row validates once a repeat: as many models a trial as there are folds, whose mean the search looks at."""

    folds: Annotated[int, Field(ge=2, le=50)] = 5
    stratified: bool = True  # of a classification
    groups: ColumnName | None = None  # rows with one value of it stay in one fold; it is no feature
    repeats: Annotated[int, Field(ge=1, le=50)] = 1  # divided anew, and trained from other seeds
    time_ordered: bool = False  # each fold trains on the rows before those that it validates on

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
        if self.time_ordered and self.stratified and "stratified" in self.model_fields_set:
            raise ValueError("rows divided by their order are not stratified; leave stratified out")
        return self


class Checkpoint(_Section):
    """How often the state of a training is written, so that a killed one goes on from there: every so many epochs, but
    not before `every_seconds` have passed since the last. Where an epoch is shorter than writing its state to disk,
    training for a second again costs less than having written a hundred checkpoints.

    `last` leaves out the weights of an earlier best epoch: checkpoints are a third smaller, but a training that is
    resumed then ends with the best of the epochs since.
    """

    every_epochs: Count = 1
    every_seconds: NonNegative = 1.0
    keep: Literal["last", "best_and_last"] = "best_and_last"


class TrainConfig(_Section):
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
        if self.cross_validation and (split.groups or split.time or split.duplicates == "together"):
            raise ValueError(
                "cross_validation: folds are divided by its own groups and time_ordered; leave data.split.groups, "
                "time and duplicates: together out"
            )
        return self

    @model_validator(mode="after")
    def _only_what_is_there_is_transferred(self) -> Self:
        told = [key for key, value in self.transfer if value != Transfer.model_fields[key].default]
        if self.model.name != "pretrained" and told:
            raise ValueError(f"transfer.{told[0]}: acts only with model.name pretrained, and it is {self.model.name}")
        return self

    @model_validator(mode="after")
    def _folds_have_seeds_of_their_own(self) -> Self:
        if self.cross_validation and self.seeds > 1:
            raise ValueError("cross_validation.repeats: folds are repeated from other seeds by it; leave seeds out")
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
        if model.norm != "group" or model.name not in ONLY_WITH["model.norm"][1]:
            return self
        for width in model.hidden if model.name in ONLY_WITH["model.hidden"][1] else [model.width]:
            if width % model.groups:
                raise ValueError(
                    f"model.groups: {model.groups} groups do not divide a width of {width}; take a number that does"
                )
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


# A knob on the left acts only where the knob on the right has one of the values.
ONLY_WITH: dict[str, tuple[str, frozenset[str]]] = {
    "model.hidden": ("model.name", frozenset({"mlp", "embedding_bag"})),
    "model.norm": ("model.name", frozenset({"mlp", "embedding_bag", "cnn", "resnet"})),
    "model.skip": ("model.name", frozenset({"mlp"})),
    "model.zero_residual": ("model.name", frozenset({"mlp", "resnet"}) | TRANSFORMERS),
    "model.groups": ("model.norm", frozenset({"group"})),
    "model.depth": ("model.name", DEEP),
    "model.width": ("model.name", DEEP | TEXT_MODELS),
    "model.expansion": ("model.name", TRANSFORMERS | {"resnet"}),
    "model.heads": ("model.name", TRANSFORMERS),
    "model.patch": ("model.name", frozenset({"vit"})),
    "model.source": ("model.name", PRETRAINED),
    "model.lora_rank": ("model.name", PRETRAINED),
    "model.lora_alpha": ("model.name", PRETRAINED),
    "model.lora_targets": ("model.name", PRETRAINED),
    "model.channels": ("model.name", frozenset({"cnn"})),
    "compression.share": ("compression.name", frozenset({"magnitude", "units"})),
    "compression.steps": ("compression.name", frozenset({"magnitude", "units"})),
    "compression.begin": ("compression.name", frozenset({"magnitude", "units"})),
    "compression.end": ("compression.name", frozenset({"magnitude", "units"})),
    "compression.rewind": ("compression.name", frozenset({"magnitude"})),
    "transfer.freeze": ("model.name", PRETRAINED),
    "transfer.frozen_blocks": ("transfer.freeze", frozenset({"blocks"})),
    "transfer.unfreeze_every": ("transfer.freeze", frozenset({"all_but_head", "blocks"})),
    "transfer.head_lr": ("model.name", PRETRAINED),
    "transfer.lr_decay": ("model.name", PRETRAINED),
    "model.kernel": ("model.name", frozenset({"cnn", "text_cnn"})),
    "optimizer.momentum": ("optimizer.name", frozenset({"sgd", "rmsprop"})),
    "optimizer.nesterov": ("optimizer.name", frozenset({"sgd"})),
    "optimizer.beta1": ("optimizer.name", frozenset({"adam", "adamw", "nadam", "lion"})),
    "optimizer.beta2": ("optimizer.name", frozenset({"adam", "adamw", "nadam", "lion"})),
    "optimizer.alpha": ("optimizer.name", frozenset({"rmsprop"})),
    "schedule.step_epochs": ("schedule.name", frozenset({"step"})),
    "schedule.milestones": ("schedule.name", frozenset({"multi_step"})),
    "schedule.factor": ("schedule.name", frozenset({"step", "multi_step", "exponential", "plateau"})),
    "schedule.min_factor": ("schedule.name", frozenset({"linear", "polynomial", "cosine", "cosine_restarts"})),
    "schedule.power": ("schedule.name", frozenset({"polynomial"})),
    "schedule.restart_epochs": ("schedule.name", frozenset({"cosine_restarts"})),
    "schedule.restart_growth": ("schedule.name", frozenset({"cosine_restarts"})),
    "schedule.plateau_epochs": ("schedule.name", frozenset({"plateau"})),
    "regularization.shake_drop": ("model.skip", frozenset({"shake_drop"})),
    "regularization.snapshots": ("schedule.name", frozenset({"cosine_restarts"})),
    "loss.gamma": ("loss.name", frozenset({"focal"})),
    "loss.delta": ("loss.name", frozenset({"huber"})),
    "loss.quantile": ("loss.name", frozenset({"quantile"})),
    "data.synthetic.noise": ("data.synthetic.method", frozenset({"noise"})),
}


def metric_names(task: Literal["auto", "classification", "regression"]) -> frozenset[str]:
    """What a training reports each epoch: `train/…`, `val/…` and what it costs. `test/…` comes once, at its end, and is
    no objective.

    For `auto` the names of both tasks: the preflight knows which it is.
    """
    names = {
        "classification": CLASSIFICATION_METRICS,
        "regression": REGRESSION_METRICS,
        "auto": tuple(dict.fromkeys(CLASSIFICATION_METRICS + REGRESSION_METRICS)),
    }[task]
    return frozenset({"train/loss", *COST_METRICS} | {f"val/{name}" for name in names})


def knob_paths() -> list[str]:
    """The dotted paths of all knobs, in the order of the models.

    What names and divides the data is none: trials that were measured on other rows could not be compared.
    """
    return [path for path in _leaves(TrainConfig, "") if not path.startswith(_NOT_SEARCHED)]


_NOT_SEARCHED = (
    "kind", "checkpoint.", "data.source", "data.test_source", "data.task", "data.target", "data.drop",
    "data.missing_values", "data.delimiter", "data.split.", "data.labels", "data.test_labels",
    "data.quoting", "data.text", "data.categorical", "cross_validation.", "seeds", "model.architecture",
)  # fmt: skip


def _leaves(model: type[BaseModel], prefix: str) -> list[str]:
    paths = []
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        paths += _leaves(section, f"{prefix}{name}.") if section else [f"{prefix}{name}"]
    return paths


def _section_of(annotation: Any) -> type[_Section] | None:
    """The section that a field holds, also where it may be left out (`Section | None`)."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, _Section):
            return kind
    return None
