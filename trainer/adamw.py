"""AdamW for small models, where a step of PyTorch's own class is mostly bookkeeping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.adamw import adamw


class _Moments(NamedTuple):
    """A weight with the state of its steps, which is named as PyTorch names it."""

    weight: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor


class AdamW(torch.optim.AdamW):
    """PyTorch's fused AdamW without its decay: the same numbers to the bit, and the same state.

    Which tensors there are is found out once and not at each step, and nothing is laid around the step (hooks, a mark
    for the profiler): seven small tensors take two thirds of the time.
    """

    def __init__(self, parameters: Any, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=0.0, fused=True)
        self._known: dict[int, _Moments] = {}  # of each weight that has been stepped, by its id

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("this step needs no closure")
        for group in self.param_groups:
            due = [self._moments(weight) for weight in group["params"] if weight.grad is not None]
            if not due:
                continue
            weights, averages, squares, steps = map(list, zip(*due, strict=True))
            gradients = [weight.grad for weight in weights]
            beta1, beta2 = group["betas"]
            adamw(
                weights, gradients, averages, squares, [], steps,
                lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"], weight_decay=0.0,
                amsgrad=False, maximize=False, foreach=False, fused=True,
                # What a GradScaler gives: what gradients are to be divided by, and whether they are too large.
                grad_scale=getattr(self, "grad_scale", None), found_inf=getattr(self, "found_inf", None),
            )  # fmt: skip

    step.hooked = True  # type: ignore[attr-defined]  # PyTorch wraps its hooks around a step that does not say so

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._known = {}

    def _moments(self, weight: Tensor) -> _Moments:
        found = self._known.get(id(weight))
        if found is None:
            state = self.state[weight]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
            found = self._known[id(weight)] = _Moments(weight, state["exp_avg"], state["exp_avg_sq"], state["step"])
        return found
