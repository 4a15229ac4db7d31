"""Weight initialization by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import init

Nonlinearity = Literal["linear", "relu", "leaky_relu", "tanh"]

# He et al. 2015 derive the gain for rectifiers; the smooth ones are close enough to take theirs.
_LIKE: dict[str, Nonlinearity] = {
    "relu": "relu",
    "gelu": "relu",
    "silu": "relu",
    "elu": "relu",
    "leaky_relu": "leaky_relu",
    "tanh": "tanh",
}


def initialize(model: nn.Module, name: str, activation: str, generator: Generator) -> None:
    """Draw all weights anew. The head of a model, `model.head`, has no activation and so no gain.

    `default` is what PyTorch's layers do by themselves. The others are He et al. 2015 (kaiming), Glorot and Bengio 2010
    (xavier), LeCun et al. 1998 (lecun: variance 1 / inputs) and Saxe et al. 2014 (orthogonal), with biases of 0.
    Embeddings are drawn from N(0, 1), the scale of a standardized numeric column. Norms begin as the identity.
    """
    with torch.no_grad():
        for path, module in model.named_modules():
            if isinstance(module, nn.Linear):
                _linear(module, name, "linear" if path == "head" else _LIKE[activation], generator)
            elif isinstance(module, nn.Embedding):
                init.normal_(module.weight, generator=generator)
            elif isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
                module.reset_parameters()  # draws nothing


def _linear(layer: nn.Linear, name: str, nonlinearity: Nonlinearity, generator: Generator) -> None:
    if name == "default":
        bound = 1 / math.sqrt(layer.in_features) if layer.in_features else 0.0
        init.uniform_(layer.weight, -bound, bound, generator=generator)
        init.uniform_(layer.bias, -bound, bound, generator=generator)
        return
    _WEIGHTS[name](layer.weight, nonlinearity, generator)
    init.zeros_(layer.bias)


def _gain(nonlinearity: Nonlinearity) -> float:
    return float(init.calculate_gain(nonlinearity))


_WEIGHTS: dict[str, Callable[[Tensor, Nonlinearity, Generator], object]] = {
    "kaiming_normal": lambda w, f, g: init.kaiming_normal_(w, nonlinearity=f, generator=g),
    "kaiming_uniform": lambda w, f, g: init.kaiming_uniform_(w, nonlinearity=f, generator=g),
    "xavier_normal": lambda w, f, g: init.xavier_normal_(w, _gain(f), generator=g),
    "xavier_uniform": lambda w, f, g: init.xavier_uniform_(w, _gain(f), generator=g),
    "lecun_normal": lambda w, _, g: init.normal_(w, std=1 / math.sqrt(w.shape[1]), generator=g),
    "orthogonal": lambda w, f, g: init.orthogonal_(w, _gain(f), generator=g),
}
