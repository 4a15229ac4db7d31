"""Where a pretrained model comes from, and which of its tensors a new one takes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from trainer.checkpoint import below
from trainer.config import Model, TrainConfig
from trainer.data.prepare import Given
from trainer.data.prepared import AnySchema
from trainer.data.schema import Target
from trainer.data.sources import locate
from trainer.data.subwords import SubwordSchema
from trainer.data.texts import TextSchema
from trainer.errors import DataError, ModelError
from trainer.folder import Folder
from trainer.int8 import as_floats
from trainer.models.layers import Network
from trainer.models.pretrained import head_of, quiet
from trainer.tokens import most_tokens, tokens_of

PATH = "trial.model.source"
DOCUMENT, TENSORS = "model.json", "model.safetensors"
_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")  # of a model on the hub
_NO_TARGET = Target(name="", task="regression")


@dataclass(frozen=True, eq=False)
class Origin:
    """A pretrained model: its architecture, how rows become its inputs, and its weights."""

    architecture: dict[str, Any]
    prepares: AnySchema | None  # the rows as its own were; of images from elsewhere, only their scale is given
    scale: tuple[float, float] | None  # mean and deviation of a pixel, 0 to 255
    weights: Callable[[int], dict[str, Tensor]]  # for so many outputs; those of another head are left out
    classes: tuple[str, ...] | None = None  # that its head tells apart; None: nobody says
    pooling: Literal["own", "mean"] = "own"  # what its head reads

    def resolve(self, config: TrainConfig) -> TrainConfig:
        """The configuration with the source's architecture in it, and what its own head reads where that is kept."""
        pooling = self.pooling if config.model.pooling == "own" else config.model.pooling
        told = {"architecture": self.architecture, "pooling": pooling}
        return config.model_copy(update={"model": config.model.model_copy(update=told)})

    def given(self, config: TrainConfig) -> Given:
        """How the data are to be prepared. Raises: ModelError: the source reads texts, and no column is said to."""
        if isinstance(self.prepares, SubwordSchema | TextSchema) and config.data.text is None:
            raise ModelError(PATH, "the source reads a text", "name its column in data.text")
        if isinstance(self.prepares, SubwordSchema):
            longest = min(config.data.max_tokens, most_tokens(self.architecture))
            return Given(self.prepares.model_copy(update={"column": str(config.data.text), "max_tokens": longest}))
        if isinstance(self.prepares, TextSchema):
            return Given(self.prepares.model_copy(update={"column": str(config.data.text)}))
        return Given(self.prepares, self.scale)

    def begin(self, model: Network, target: Target) -> list[str]:
        """Give a model what it takes of the weights. A head of as many other classes is none to begin with: it would
        take a sandal for a shirt, and be sure of it.

        Returns:
            The names of the model's tensors that keep what they had.
        """
        return take(model, self.weights(target.outputs), with_head=self.classes in (None, target.classes))


class Origins:
    """Opens sources, each once."""

    def __init__(
        self, folders: Sequence[Path], trials: Mapping[str, Folder] | None = None, *, hub: bool = False
    ) -> None:
        """
        Args:
            folders: the only ones that are read.
            trials: what finished trials have left, by the source that names each.
            hub: whether `hf:` may name a model of the Hugging Face Hub.
        """
        self._folders, self._trials, self._hub = folders, trials or {}, hub
        self._opened: dict[str, Origin] = {}

    def of(self, config: TrainConfig) -> Origin | None:
        """What a training begins with; None where it begins from nothing.

        Raises:
            ModelError, DataError: there is no such source, it may not be read, or it holds no model.
        """
        source = config.model.source
        if config.model.name != "pretrained" or source is None:
            return None
        if source not in self._opened:
            self._opened[source] = self._open(source, config)
        return self._opened[source]

    def _open(self, source: str, config: TrainConfig) -> Origin:
        kind, _, name = source.partition(":")
        if kind == "hf":
            return self._from_elsewhere(name, config)
        if kind == "file":
            file = locate(name, PATH, self._folders)
            folder = file if file.is_dir() else file.parent
            return self._own(name, lambda part: (folder / part).read_bytes())
        if source not in self._trials:
            raise ModelError(PATH, f"{name} is no complete trial", "name a study and the number of one of its trials")
        if DOCUMENT not in self._trials[source].names():
            hint = "name one of the best trials, of which keep.models stay, or run its parameters again"
            raise ModelError(PATH, f"the model of trial {name} is gone", hint)
        return self._own(f"trial {name}", self._trials[source].read)

    def _own(self, name: str, read: Callable[[str], bytes]) -> Origin:
        try:
            document = json.loads(read(DOCUMENT))
            weights = safetensors.torch.load(read(TENSORS))
            schema: AnySchema = TypeAdapter(AnySchema).validate_python({"kind": "table"} | document["schema"])
            model = TrainConfig.model_validate(document["config"]).model
        except (OSError, ValueError, KeyError, ValidationError, safetensors.SafetensorError) as error:
            hint = "name the model.safetensors of a finished trial, with its model.json beside it"
            raise ModelError(PATH, f"{name} is no model of ours ({error})", hint) from error
        for part in ("member.0", "members.0"):  # of several folds, seeds or snapshots the first
            weights = below(part, weights) or weights
        weights = _folded(as_floats(weights), model)
        architecture = model.architecture if model.architecture is not None else model.model_dump(mode="json")
        prepares = schema.model_copy(update={"target": _NO_TARGET})
        return Origin(architecture, prepares, None, lambda _: weights, schema.target.classes, model.pooling)

    def _from_elsewhere(self, name: str, config: TrainConfig) -> Origin:
        place = self._place(name)
        try:
            from transformers import AutoConfig

            quiet()
            found = AutoConfig.from_pretrained(place, local_files_only=not self._hub)
            architecture = _plain(found.to_dict())
            schema, scale = None, None
            if config.data.text is None:
                scale = _pixel_scale(place, hub=self._hub)
            else:
                schema = tokens_of(place, architecture, config, path=PATH, hub=self._hub)
                architecture.setdefault("pad_token_id", schema.pad)
        except ImportError as error:
            hint = "install the worker with the extra hf"
            raise ModelError(PATH, f"hf: sources need transformers and peft ({error})", hint) from error
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(PATH, f"{name} cannot be read as a model: {_first_line(error)}") from error
        read = _Reader(place, config.data.text is not None, self._hub)
        return Origin(architecture, schema, scale, read)

    def _place(self, name: str) -> str:
        """The folder, or the id of a model where the hub may be asked."""
        try:
            return str(locate(name, PATH, self._folders))
        except DataError as error:
            if self._hub and not os.path.isabs(name):  # noqa: PTH117 - an id is no path
                return name
            if not _ID.fullmatch(name):
                raise
            message = f"there is no folder {name}, and nothing is fetched from the Hugging Face Hub"
            hint = f"{error.problem.hint}; TRIALYARD_HF_HUB=true lets workers fetch models"
            raise ModelError(PATH, message, hint) from error


@dataclass
class _Reader:
    """Reads the weights of a model from elsewhere, once for each number of outputs."""

    place: str
    of_text: bool
    hub: bool

    def __post_init__(self) -> None:
        self._read: dict[int, dict[str, Tensor]] = {}

    def __call__(self, outputs: int) -> dict[str, Tensor]:
        if outputs not in self._read:
            self._read[outputs] = self._weights(outputs)
        return self._read[outputs]

    def _weights(self, outputs: int) -> dict[str, Tensor]:
        from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

        auto = AutoModelForSequenceClassification if self.of_text else AutoModelForImageClassification
        model, said = auto.from_pretrained(
            self.place,
            num_labels=outputs,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            local_files_only=not self.hub,
            use_safetensors=True,
        )
        made = set(said["missing_keys"]) | {each[0] for each in said["mismatched_keys"]}
        return {f"inner.{name}": tensor.float() for name, tensor in model.state_dict().items() if name not in made}


def take(model: Network, weights: Mapping[str, Tensor], *, with_head: bool) -> list[str]:
    """Copy what fits by name and shape into a model, or all but its head.

    Returns:
        The names of the model's tensors that keep what they had.
    """
    own = model.state_dict()
    given = {_adapted(name, own): tensor for name, tensor in weights.items()}
    taken = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    if not with_head:
        head = {id(parameter) for parameter in head_of(model).parameters()}
        anew = {name for name, parameter in model.named_parameters() if id(parameter) in head}
        taken = {name: tensor for name, tensor in taken.items() if name not in anew}
    if not taken:
        raise ModelError(PATH, "no tensor of the source fits the model", "take another source")
    model.load_state_dict(taken, strict=False)
    return [name for name in own if name not in taken and "lora_" not in name]


def _folded(weights: Mapping[str, Tensor], model: Model) -> dict[str, Tensor]:
    """The weights of a model without matrices of low rank that says the same: their products are added to the layers
    beside which they stand (Hu et al. 2021, section 4.1). What begins with it may have other ones, or none.
    """
    whole = {name.replace(".base_layer.", "."): each for name, each in weights.items() if ".lora_" not in name}
    for name, down in weights.items():  # (rank, inputs)
        if ".lora_A." in name:
            up = weights[name.replace(".lora_A.", ".lora_B.")]  # (outputs, rank)
            layer = f"{name.partition('.lora_A.')[0]}.weight"
            whole[layer] = whole[layer] + model.lora_alpha / model.lora_rank * up @ down
    return whole


def _adapted(name: str, own: Mapping[str, Tensor]) -> str:
    """The name of a weight that has matrices of low rank beside it now."""
    layer, _, leaf = name.rpartition(".")
    return name if name in own else f"{layer}.base_layer.{leaf}"


def _pixel_scale(place: str, *, hub: bool) -> tuple[float, float] | None:
    """The mean over the channels of what the model's own preprocessing shifts and scales by, if it is known."""
    from transformers.utils.hub import cached_file

    try:
        file = cached_file(place, "preprocessor_config.json", local_files_only=not hub)
        known = json.loads(Path(str(file)).read_bytes())
        mean, deviation = known["image_mean"], known["image_std"]
    except (OSError, ValueError, KeyError):
        return None
    return 255 * sum(mean) / len(mean), 255 * sum(deviation) / len(deviation)


def _plain(architecture: dict[str, Any]) -> dict[str, Any]:
    """What makes the model, as JSON: without where it was found, and without its labels."""
    left_out = {"_name_or_path", "transformers_version", "id2label", "label2id", "problem_type", "architectures"}
    kept = {name: value for name, value in architecture.items() if name not in left_out and value is not None}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
