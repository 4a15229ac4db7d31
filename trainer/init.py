"""Weight initialization by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import init

from trainer.models.numbers import Numbers
from trainer.models.residual import Residual, last_weights
from trainer.models.transformer import Vectors

Nonlinearity = Literal["linear", "relu", "leaky_relu", "tanh"]

# Tokens that are seen once or never keep what they began with: as large as a number's, it would drown the others.
TOKEN_DEVIATION = 0.1

# He et al. 2015 derive the gain for rectifiers; the smooth ones are close enough to take theirs.
_LIKE: dict[str, Nonlinearity] = {
    "relu": "relu",
    "gelu": "relu",
    "silu": "relu",
    "elu": "relu",
    "leaky_relu": "leaky_relu",
    "tanh": "tanh",
}


def initialize(
    model: nn.Module, name: str, activation: str, generator: Generator, *, zero_residual: bool = False
) -> None:
    """Draw all weights anew. The head of a model, `model.head`, has no activation and so no gain.

    `default` is what PyTorch's layers do by themselves. The others are He et al. 2015 (kaiming), Glorot and Bengio 2010
    (xavier), LeCun et al. 1998 (lecun: variance 1 / inputs) and Saxe et al. 2014 (orthogonal), with biases of 0;
    truncated_normal is N(0, 0.02) without what lies beyond two deviations, as transformers begin (Devlin et al. 2019).
    Embeddings of categories are drawn from N(0, 1), the scale of a standardized column. Norms begin as the identity.

    Args:
        zero_residual: the last layer of each residual branch is 0, so that the model begins as if it had none of them
            (Goyal et al. 2017, section 5.1).
    """
    with torch.no_grad():
        for path, module in model.named_modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                _linear(module, name, "linear" if path == "head" else _LIKE[activation], generator)
            elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
                deviation = 1.0 if module.padding_idx is None else TOKEN_DEVIATION
                init.normal_(module.weight, std=deviation, generator=generator)
                if module.padding_idx is not None:
                    module.weight[module.padding_idx] = 0  # what stands for nothing
            elif isinstance(module, Vectors | Numbers):
                module.draw(generator)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
                module.reset_parameters()  # draws nothing
        residuals = [module for module in model.modules() if isinstance(module, Residual)]
        for residual in residuals if zero_residual else ():
            for weight in last_weights(residual):
                weight.zero_()


def _linear(
    layer: nn.Linear | nn.Conv1d | nn.Conv2d, name: str, nonlinearity: Nonlinearity, generator: Generator
) -> None:
    if name == "default":
        inputs = layer.weight[0].numel()
        bound = 1 / math.sqrt(inputs) if inputs else 0.0
        for drawn in (layer.weight, layer.bias):
            if drawn is not None:
                init.uniform_(drawn, -bound, bound, generator=generator)
        return
    _WEIGHTS[name](layer.weight, nonlinearity, generator)
    if layer.bias is not None:
        init.zeros_(layer.bias)


def _gain(nonlinearity: Nonlinearity) -> float:
    return float(init.calculate_gain(nonlinearity))


_WEIGHTS: dict[str, Callable[[Tensor, Nonlinearity, Generator], object]] = {
    "kaiming_normal": lambda w, f, g: init.kaiming_normal_(w, nonlinearity=f, generator=g),
    "kaiming_uniform": lambda w, f, g: init.kaiming_uniform_(w, nonlinearity=f, generator=g),
    "xavier_normal": lambda w, f, g: init.xavier_normal_(w, _gain(f), generator=g),
    "xavier_uniform": lambda w, f, g: init.xavier_uniform_(w, _gain(f), generator=g),
    "lecun_normal": lambda w, _, g: init.normal_(w, std=1 / math.sqrt(w[0].numel()), generator=g),
    "truncated_normal": lambda w, _, g: init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04, generator=g),
    "orthogonal": lambda w, f, g: init.orthogonal_(w, _gain(f), generator=g),
}
