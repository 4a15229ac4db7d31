"""The network: by name, pretrained, and made smaller."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from trainer.config.base import Probability, Section, Width
from trainer.config.layered import MOST_LAYERS

MOST_MODELS = 100  # of one trial
MODEL_SOURCE = r"^((hf|file):[^\x00-\x1f]{1,1024}|trial:[a-z0-9-]{1,64}/[0-9]{1,9})$"
MODELS = {
    "table": frozenset({"linear", "mlp", "resnet", "ft_transformer"}),
    "image": frozenset({"linear", "mlp", "cnn", "resnet", "vit"}),
    "text": frozenset({"embedding_bag", "text_cnn", "transformer"}),
}
IMAGE_MODELS = frozenset({"cnn", "resnet", "vit"})  # those that take what may be either as images
TEXT_MODELS = MODELS["text"]
TRANSFORMERS = frozenset({"ft_transformer", "vit", "transformer"})
DEEP = frozenset({"cnn", "resnet"}) | TRANSFORMERS
NORMED = frozenset({"mlp", "embedding_bag", "cnn", "resnet"})  # those that take a norm
PRETRAINED = frozenset({"pretrained"})
Cell = Literal["conv", "residual", "separable", "inverted", "squeeze", "identity"]


class Model(Section):
    """A network by name. A knob that the named one does not have is ignored: see ONLY_WITH."""

    name: Literal[
        "linear", "mlp", "cnn", "resnet", "ft_transformer", "vit", "embedding_bag", "text_cnn", "transformer",
        "pretrained",
    ] = "mlp"  # fmt: skip
    source: Annotated[str, Field(pattern=MODEL_SOURCE)] | None = None  # pretrained: where the weights come from
    hidden: Annotated[list[Width], Field(max_length=64)] = Field(default=[128, 64])
    numbers: Literal["plain", "linear", "periodic"] = "plain"  # linear, mlp, resnet of tables: how a column is seen
    number_width: Annotated[int, Field(ge=1, le=1024)] = 16  # of the vector that a column becomes
    frequencies: Annotated[int, Field(ge=1, le=1024)] = 32  # periodic: of each column
    frequency_scale: Annotated[FiniteFloat, Field(gt=0, le=1000)] = 0.1  # periodic: their deviation, in 1 / unit
    activation: Literal["relu", "gelu", "silu", "tanh", "elu", "leaky_relu"] = "relu"
    norm: Literal["none", "batch", "layer", "group"] = "none"
    groups: Annotated[int, Field(ge=1, le=4096)] = 8  # of channels, each normalized by itself
    skip: Literal["none", "standard", "shake_shake", "shake_drop"] = "none"  # around every two hidden layers
    depth: Annotated[int, Field(ge=1, le=32)] = 3  # cnn: stages, each halving the image; resnet: blocks of each stage
    width: Annotated[int, Field(ge=1, le=4096)] = 32  # channels of the first stage; of tokens, their dimension
    expansion: Annotated[FiniteFloat, Field(ge=0.25, le=8)] = 2.0  # the layer within a block, in widths
    heads: Annotated[int, Field(ge=1, le=64)] = 4  # of attention; they divide the width
    patch: Annotated[int, Field(ge=1, le=256)] = 4  # vit: the side of the squares that an image is cut into
    channels: Annotated[list[Width], Field(max_length=MOST_LAYERS)] = Field(
        default=[]
    )  # cnn: of each stage, in place of depth and width
    cell: Cell = "conv"  # cnn: what each stage is made of
    cells: Annotated[list[Cell], Field(max_length=MOST_LAYERS)] = Field(
        default=[]
    )  # cnn: of each stage, in place of cell
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    init: Literal[
        "default", "kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "lecun_normal", "orthogonal",
        "truncated_normal",
    ] = "default"  # fmt: skip
    zero_residual: bool = False  # residual branches begin as nothing
    pooling: Literal["own", "mean"] = "own"  # pretrained on texts: its own head, or one over the mean of the tokens
    lora_rank: Annotated[int, Field(ge=0, le=1024)] = 0  # pretrained: of what is trained in place of weights; 0 is off
    lora_alpha: Annotated[int, Field(ge=1, le=100_000)] = 16  # over lora_rank, what the product is multiplied by
    lora_targets: Annotated[list[str], Field(max_length=64)] = Field(
        default=[]
    )  # ends of layers' names; none: all linear ones
    architecture: dict[str, Any] | None = None  # of the source; the worker fills it in

    @property
    def stage_channels(self) -> list[int]:
        """The channels of each stage of a cnn: twice as many as in the one before, if they are not given."""
        return self.channels or [self.width * 2**stage for stage in range(self.depth)]

    @property
    def stage_cells(self) -> list[Cell]:
        """What each stage of a cnn is made of."""
        return self.cells or [self.cell] * len(self.stage_channels)

    @model_validator(mode="after")
    def _is_from_somewhere(self) -> Self:
        if self.name == "pretrained" and self.source is None:
            raise ValueError("pretrained needs a source; as in source: hf:<folder> or file:<model.safetensors>")
        return self


class Transfer(Section):
    """What weights a training takes over, and how a pretrained model is trained on. Its blocks are counted from the
    input; the head is none of them.
    """

    inherit: Literal["none", "nearest"] = "none"  # a finished trial of the study, chosen as this one begins
    freeze: Literal["none", "all_but_head", "blocks"] = "none"
    frozen_blocks: Annotated[int, Field(ge=0, le=10_000)] = 0  # blocks: so many, from the input on
    unfreeze_every: Annotated[int, Field(ge=0, le=1_000_000)] = 0  # epochs until the next block thaws; 0 is never
    head_lr: Annotated[FiniteFloat, Field(gt=0, le=10_000)] = 1.0  # times the learning rate, for the head
    lr_decay: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0  # times it again for each block further from the head


class Compression(Section):
    """What is taken away during the training: in `steps` from `begin` to `end` of the epochs, with training between and
    after them.
    """

    name: Literal["none", "magnitude", "units"] = "none"  # single weights, or whole units and channels
    share: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.5  # of all weights, or of the units of each layer
    steps: Annotated[int, Field(ge=1, le=1000)] = 1
    begin: Probability = 0.5
    end: Probability = 0.75
    int8: bool = False  # the model that is left has linear layers and tables of eight bits
    rewind: bool = False  # magnitude: what stays goes back to what it began with (Frankle and Carbin 2019)

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        if self.begin > self.end:
            raise ValueError(f"begin {self.begin:g} comes after end {self.end:g}; exchange them")
        if self.rewind and self.name == "units":
            raise ValueError("rewind goes with magnitude; set it to false")
        return self
