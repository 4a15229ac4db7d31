"""Models from elsewhere, built by transformers' Auto classes, and the low-rank matrices that may be trained in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from trainer.config import Model
from trainer.data.images import ImageSchema
from trainer.data.subwords import SubwordSchema
from trainer.errors import ModelError
from trainer.models.image import Pixels
from trainer.models.layers import Dropout, Network, one_a_row

# Rates of dropout by the names that they have in the configurations of different models. Ours takes their place.
_RATES = ("dropout", "dropout_prob", "drop_rate", "_dropout_prob")
_WARNS = "warn_if_padding_and_no_attention_mask"  # a method of transformers' models


class _Dropout(Dropout):
    """Ours in the place of PyTorch's. Attention asks it for a rate to apply itself, outside of our generator: none."""

    p = 0.0


class PretrainedText(Network):
    """A model for classifying sequences (or regressing on them), over tokens of its own tokenizer.

    With the pooling `mean` a linear head of ours reads the mean over the tokens, which is what sentence encoders are
    trained for (Reimers and Gurevych 2019, section 3); else the model's own head reads what it is used to.
    """

    cpu_rows = 64
    may_leave_out = True  # such as a pooler that nothing asks
    pad: int

    def __init__(
        self,
        architecture: Mapping[str, Any],
        schema: SubwordSchema,
        outputs: int,
        noise: Generator | None,
        pooling: str = "own",
    ) -> None:
        from transformers import AutoModelForSequenceClassification

        super().__init__()
        self.inner = _made(AutoModelForSequenceClassification, architecture, outputs, noise)
        self.pad = schema.pad
        if pooling == "mean":
            for name, _ in _heads(self.inner):
                setattr(self.inner, name, nn.Identity())
            self.head = nn.Linear(self.inner.config.hidden_size, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int32 to (batch, outputs); (batch,) for a single output. Columns of padding are left out."""
        there = tokens != self.pad
        if tokens.is_meta:  # where only shapes are asked for, nothing can depend on the tokens
            return one_a_row(self._outputs(tokens, None))
        if not torch.compiler.is_compiling():  # an exported program may not ask what its inputs hold
            longest = max(1, int(there.sum(1).max()))
            tokens, there = tokens[:, :longest], there[:, :longest]
        return one_a_row(self._outputs(tokens, there))

    def _outputs(self, tokens: Tensor, there: Tensor | None) -> Tensor:
        """(batch, outputs); `there` says which tokens are no padding, None that all are."""
        known = {"input_ids": tokens.long(), "attention_mask": None if there is None else there.long()}
        if "head" not in self._modules:
            logits: Tensor = self.inner(**known).logits
            return logits
        hidden = self.inner.base_model(**known).last_hidden_state  # (batch, length, width)
        weight = torch.ones_like(hidden[..., :1]) if there is None else there.unsqueeze(-1).to(hidden.dtype)
        mean: Tensor = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        outputs: Tensor = self.head(mean)
        return outputs


class PretrainedImages(Network):
    """A model for classifying images, of the size and with as many channels as it was trained on: ours are stretched
    to that, and grey ones repeated.
    """

    cpu_rows = 32
    may_leave_out = True

    def __init__(
        self, architecture: Mapping[str, Any], schema: ImageSchema, outputs: int, noise: Generator | None
    ) -> None:
        from transformers import AutoModelForImageClassification

        super().__init__()
        self.inner = _made(AutoModelForImageClassification, architecture, outputs, noise)
        self.pixels = Pixels(schema)
        self._channels = int(architecture.get("num_channels", 3))
        side = architecture.get("image_size", 0)
        self._size = (side, side) if isinstance(side, int) else tuple(side)

    def forward(self, pixels: Tensor) -> Tensor:
        x: Tensor = self.pixels(pixels)
        if x.shape[1] == 1 < self._channels:
            x = x.expand(-1, self._channels, -1, -1)
        if all(self._size) and tuple(x.shape[2:]) != self._size:
            x = functional.interpolate(x, self._size, mode="bilinear", antialias=not x.is_meta)
        logits: Tensor = self.inner(pixel_values=x).logits
        return one_a_row(logits)


def build_pretrained(
    architecture: Mapping[str, Any], schema: object, outputs: int, noise: Generator | None, pooling: str = "own"
) -> Network:
    """The model of a transformers configuration for these data; its weights are yet to be taken from somewhere.

    Raises:
        ModelError: it takes no such data, or transformers knows no such model.
    """
    if isinstance(schema, SubwordSchema):
        return PretrainedText(architecture, schema, outputs, noise, pooling)
    if isinstance(schema, ImageSchema):
        if pooling == "mean":
            raise ModelError("trial.model.pooling", "images have no tokens to take the mean of", "leave it out")
        return PretrainedImages(architecture, schema, outputs, noise)
    message = f"{architecture.get('model_type')} takes a text or images, and the source is a table"
    raise ModelError("trial.model.source", message, "name the column of the text in data.text")


def add_lora(model: Network, config: Model) -> None:
    """Put a product of two low-rank matrices beside each targeted linear layer (Hu et al. 2021, section 4.1).

    Raises:
        ModelError: no linear layer below the head has such a name.
    """
    from peft import LoraConfig, inject_adapter_in_model

    head = set(head_of(model).modules())
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module not in head and _is_targeted(name, config.lora_targets)
    ]
    if not names:
        raise ModelError("trial.model.lora_targets", "no linear layer has such a name", "leave it out for all of them")
    lora = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=names)
    inject_adapter_in_model(lora, model)


def head_of(model: Network) -> nn.Module:
    """What turns features into outputs: the part that is made anew for another target."""
    if "head" in model._modules:
        return model.get_submodule("head")
    return nn.ModuleList([child for _, child in _heads(model.get_submodule("inner"))])


def _heads(inner: nn.Module) -> list[tuple[str, nn.Module]]:
    """What a model of transformers' has beside its body, by name."""
    return [(name, child) for name, child in inner.named_children() if name != inner.base_model_prefix]


def _is_targeted(name: str, targets: list[str]) -> bool:
    return not targets or any(name == target or name.endswith(f".{target}") for target in targets)


def _made(auto: Any, architecture: Mapping[str, Any], outputs: int, noise: Generator | None) -> Any:
    from transformers import AutoConfig

    known: dict[str, Any] = {
        name: 0.0 if name.endswith(_RATES) and value else value for name, value in architecture.items()
    }
    kind: str = known.pop("model_type")
    known["num_labels"] = outputs
    try:
        made = auto.from_config(AutoConfig.for_model(kind, **known))
    except ValueError as error:
        raise ModelError(
            "trial.model.source", f"transformers makes no model for this task of {kind}: {error}"
        ) from error
    for parent in list(made.modules()):
        if hasattr(parent, _WARNS):
            setattr(parent, _WARNS, _say_nothing)
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                setattr(parent, name, _Dropout(noise))
    return made


def _say_nothing(*_: object) -> None:
    """In the place of a warning about padding, which has a mask wherever there is any. The warning asks what tokens
    hold, which nobody knows on meta.
    """


def quiet() -> None:
    """Keep transformers from reporting and drawing bars into a trial's log."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
