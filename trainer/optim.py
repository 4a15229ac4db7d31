"""The optimizers by name, with weight decay decoupled from the gradient for every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, NAdam, RMSprop
from torch.optim.optimizer import ParamsT

from trainer.adamw import AdamW
from trainer.config import Optimizer
from trainer.lion import Lion

BIASES = frozenset({"bias", "biases"})  # in a parameter's name


def make_optimizer(parameters: ParamsT, config: Optimizer) -> torch.optim.Optimizer:
    """The optimizer of that name, without any decay of its own: `decay` is applied beside it.

    Adam and AdamW differ in PyTorch in nothing but how they decay, so here they are the same.
    """
    lr = config.lr
    match config.name:
        case "sgd":
            nesterov = config.nesterov and config.momentum > 0
            optimizer = SGD(parameters, lr, momentum=config.momentum, nesterov=nesterov, fused=True)
            _begin_momenta(optimizer)
            return optimizer
        case "adam" | "adamw":
            return AdamW(parameters, lr, (config.beta1, config.beta2), config.eps)
        case "nadam":  # this one and the next have no fused kernel
            return NAdam(parameters, lr, betas=(config.beta1, config.beta2), eps=config.eps, foreach=True)
        case "lion":
            return Lion(parameters, lr, (config.beta1, config.beta2))
        case "adagrad":
            return Adagrad(parameters, lr, eps=config.eps, foreach=True)
        case "rmsprop":
            return RMSprop(parameters, lr, alpha=config.alpha, eps=config.eps, momentum=config.momentum, foreach=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate, times a group's `scale` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("scale", 1.0)


def tensors_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its state by the place of the parameter and the name of what is kept of it: `3.exp_avg`."""
    states = optimizer.state_dict()["state"].items()
    return {f"{place}.{name}": kept for place, state in states for name, kept in state.items() if torch.is_tensor(kept)}


def restore_state(
    optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimizer of these parameters the state that `tensors_of` has found."""
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        place, name = path.split(".", 1)
        state.setdefault(int(place), {})[name] = _laid_out_as(parameters[int(place)], tensor)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    _begin_momenta(optimizer)


def _begin_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Give momenta their beginning at zero, from which the first step is the same as without: PyTorch makes one with a
    parameter's first step only. It was off before that, or the step is left out for its large gradients, after which
    the fused kernel would take what happens to lie in memory for it.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            state = optimizer.state[parameter]
            # What a state without anything is to PyTorch, differs: RMSprop then fills it itself.
            if "momentum_buffer" not in state and (state or isinstance(optimizer, SGD)):
                state["momentum_buffer"] = torch.zeros_like(parameter)


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The same numbers in the parameter's memory format, which a fused step takes for granted."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def named_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that may be penalized, decayed or pruned: matrices and embeddings, not biases and not norms. The
    biases of a table's columns are told by their names: they have two axes, too.
    """
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and not BIASES.intersection(name.split("."))
    }


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    """Those that are penalized and decayed: what is frozen stays as it is."""
    return [weight for weight in named_weights(model).values() if weight.requires_grad]


def decay_all(optimizer: torch.optim.Optimizer, weights: Iterable[nn.Parameter], weight_decay: float) -> None:
    """Decay weights by the learning rates of their groups."""
    if weight_decay == 0:
        return
    decayed = set(map(id, weights))
    for group in optimizer.param_groups:
        decay([each for each in group["params"] if id(each) in decayed], group["lr"], weight_decay)


def decay(weights: Iterable[Tensor], lr: float, weight_decay: float) -> None:
    """w <- (1 - lr * weight_decay) w, before the step: Loshchilov and Hutter 2019, scaled by lr as in PyTorch."""
    if weight_decay == 0:
        return
    with torch.no_grad():
        for weight in weights:
            weight.mul_(1 - lr * weight_decay)
