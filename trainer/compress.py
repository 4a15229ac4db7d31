"""Smaller models: weights set to zero, or whole units and channels taken out, while the training goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.config import Compression, Model, TrainConfig
from trainer.errors import ModelError
from trainer.int8 import learned_in
from trainer.models.layers import BATCH_NORMS, Network
from trainer.optim import named_weights

LATENCY_ROWS = 64
LATENCY_TIMES = 15


def steps_of(rule: Compression | None, epochs: int) -> list[int]:
    """The epochs, counted from 0, before which a step is taken: spread evenly from `begin` to `end` of all epochs."""
    if rule is None or rule.name == "none":
        return []
    span = rule.end - rule.begin
    shares = [rule.begin + span * step / max(1, rule.steps - 1) for step in range(rule.steps)]
    return [min(int(share * epochs), epochs - 1) for share in shares]


def share_before(config: TrainConfig, epoch: int) -> float:
    """What has been taken away when an epoch begins, as a share of what there was. It grows quickly at first and slowly
    at the end (Zhu and Gupta 2018, equation 1).
    """
    rule, steps = config.compression, steps_of(config.compression, config.epochs)
    taken = sum(step <= epoch for step in steps)
    return rule.share * (1 - (1 - taken / len(steps)) ** 3) if rule and taken else 0.0


def model_in(config: TrainConfig, epoch: int) -> Model:
    """The model that is trained in an epoch, counted from 0."""
    rule = config.compression
    if rule is None or rule.name != "units":
        return config.model
    return narrowed(config.model, share_before(config, epoch))


def narrowed(model: Model, share: float) -> Model:
    """A model of the same kind whose every hidden layer or stage has lost this share of its units or channels.

    Raises:
        ModelError: units cannot be taken out of such a model.
    """
    if model.architecture is not None and "model_type" not in model.architecture:
        own = narrowed(Model.model_validate(model.architecture), share)
        return model.model_copy(update={"architecture": own.model_dump(mode="json")})
    if model.name in ("mlp", "embedding_bag") and model.skip == "none":
        return model.model_copy(update={"hidden": [_left(width, share) for width in model.hidden]})
    if model.name == "cnn" and set(model.stage_cells) == {"conv"}:
        return model.model_copy(update={"channels": [_left(width, share) for width in model.stage_channels]})
    of = "a cnn of other cells than conv" if model.name == "cnn" else model.name
    message = f"units can be taken out of mlp (without skip), embedding_bag and cnn, not out of {of}"
    raise ModelError("trial.compression.name", message, "take magnitude")


def without_units(old: Network, new: Network) -> dict[str, Tensor]:
    """The weights of a model for a narrower one of the same kind: of each layer the units stay whose weights have the
    largest sum of absolute values (Li et al. 2017, section 3.1), and those of the next layer that they lead to.

    Args:
        old: of linear layers or convolutions that follow one another, with norms between them; the head comes last.
    """
    weights = dict(old.state_dict())
    wanted = new.state_dict()
    stay: Tensor | None = None  # of the layer before, which of its units; None: all
    for name, module in old.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and name.split(".")[0] in ("blocks", "stages", "head"):
            weight = module.weight if stay is None else module.weight[:, _inputs(module, old, name, stay)]
            units = len(wanted[f"{name}.weight"])
            stay = weight.flatten(1).abs().sum(1).topk(units).indices.sort().values
            weights[f"{name}.weight"] = weight[stay]
            if module.bias is not None:
                weights[f"{name}.bias"] = module.bias[stay]
        elif isinstance(module, (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)) and stay is not None:
            for leaf, tensor in module.state_dict().items():
                weights[f"{name}.{leaf}"] = tensor[stay] if tensor.ndim else tensor
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


class Masks:
    """Holds weights at zero that have been taken away."""

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        self.kept = dict(kept)  # by name, True where a weight stays

    def after_step(self, trained: Network, _step: int) -> None:
        with torch.no_grad():
            for name, parameter in trained.named_parameters():
                if name in self.kept:
                    parameter.mul_(self.kept[name])


def masks_of(model: Network, share: float) -> Masks:
    """Masks that leave out this share of all weights, the smallest ones wherever they stand (Han et al. 2015); biases
    and norms stay. What is zero already is among the smallest, so that what was taken away never comes back.
    """
    weights = {name: weight.detach() for name, weight in named_weights(model).items()}
    sizes = torch.cat([weight.abs().flatten() for weight in weights.values()])
    count = round(share * len(sizes))
    threshold = sizes.kthvalue(count).values if count else sizes.new_tensor(-1.0)
    return Masks({name: weight.abs() > threshold for name, weight in weights.items()})


def latency(model: Network, rows: tuple[Tensor, ...]) -> float:
    """Milliseconds for a batch of LATENCY_ROWS rows (or all, if they are fewer), the shortest of several times: what
    else the machine does only makes it longer.
    """
    model.eval()
    times = []
    with torch.inference_mode():
        for _ in range(LATENCY_TIMES + 2):  # the first two warm caches up
            began = time.perf_counter()
            model(*rows)
            if rows[0].is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
    return 1000 * min(times[2:])


def nonzero(model: Network) -> int:
    """How many parameters are not zero, those in eight bits among them."""
    return sum(int(tensor.count_nonzero()) for tensor in learned_in(model))


def size_in_bytes(model: Network) -> int:
    """What the weights and statistics take in memory and in a file."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _left(width: int, share: float) -> int:
    return max(1, width - round(share * width))


def _inputs(module: nn.Linear | nn.Conv2d, model: Network, name: str, stay: Tensor) -> Tensor:
    """The inputs of a layer that come from units that stay. A linear layer after convolutions has one for each place of
    each channel.
    """
    if isinstance(module, nn.Conv2d):
        return stay
    layers = [path for path, each in model.named_modules() if isinstance(each, nn.Linear | nn.Conv2d)]
    before = model.get_parameter(f"{layers[layers.index(name) - 1]}.weight")
    places = module.in_features // len(before)
    return (stay[:, None] * places + torch.arange(places, device=stay.device)).flatten()
