"""Lion, the optimizer that PyTorch does not bring."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim.optimizer import ParamsT


class Lion(torch.optim.Optimizer):
    """w <- w - lr * sign(beta1 * m + (1 - beta1) * g), m <- beta2 * m + (1 - beta2) * g (Chen et al. 2023, program 1),
    without its weight decay."""

    def __init__(self, parameters: ParamsT, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("Lion's step needs no closure")
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("exp_avg", torch.zeros_like(weight))
                weight.sub_(torch.lerp(weight.grad, momentum, beta1).sign_(), alpha=group["lr"])
                momentum.lerp_(weight.grad, 1 - beta2)
