"""AdamW for small models, where a step of PyTorch's own class is mostly bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor


class _Moments(NamedTuple):
    """Weights of one kind that are stepped together, with the state of their steps, which is named as PyTorch names it.
    Their counts of steps are the views of one tensor, (weights,).
    """

    weights: list[Tensor]
    exp_avg: list[Tensor]
    exp_avg_sq: list[Tensor]
    step: list[Tensor]
    counts: Tensor


class AdamW(torch.optim.AdamW):
    """PyTorch's fused AdamW without its decay: the same numbers to the bit, and the same state.

    Which tensors there are is found out once and not at each step, nothing is laid around the step (hooks, a mark for
    the profiler), and all counts rise at once: seven small tensors take half the time.
    """

    def __init__(self, parameters: Any, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=0.0, fused=True)
        self._due: dict[int, list[Tensor]] = {}  # of each group, what the last step has stepped
        self._known: dict[int, list[_Moments]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("this step needs no closure")
        # What a GradScaler gives: what gradients are to be divided by, and whether they are too large.
        scale, too_large = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        for place, group in enumerate(self.param_groups):
            beta1, beta2 = group["betas"]
            for moments in self._moments(place, [weight for weight in group["params"] if weight.grad is not None]):
                moments.counts.add_(1)
                gradients: list[Any] = [weight.grad for weight in moments.weights]
                torch._fused_adamw_(
                    moments.weights, gradients, moments.exp_avg, moments.exp_avg_sq, [], moments.step,
                    lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"], weight_decay=0.0,
                    amsgrad=False, maximize=False, grad_scale=scale, found_inf=too_large,
                )  # fmt: skip
                if too_large is not None:
                    moments.counts.sub_(too_large)

    step.hooked = True  # type: ignore[attr-defined]  # PyTorch wraps its hooks around a step that does not say so

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._due, self._known = {}, {}

    def _moments(self, place: int, due: list[Tensor]) -> Sequence[_Moments]:
        """Of the weights of a group that have a gradient; mostly the same as in the step before."""
        before = self._due.get(place)
        if before is None or len(before) != len(due) or not all(map(is_, before, due)):
            kinds = groupby(sorted(due, key=_kind), key=_kind)
            self._due[place], self._known[place] = due, [self._gathered(list(weights)) for _, weights in kinds]
        return self._known[place]

    def _gathered(self, weights: list[Tensor]) -> _Moments:
        for weight in weights:
            if not self.state[weight]:
                zeros = torch.zeros_like(weight), torch.zeros_like(weight)
                count = torch.zeros((), dtype=torch.float32, device=weight.device)
                self.state[weight] = {"step": count, "exp_avg": zeros[0], "exp_avg_sq": zeros[1]}
        states = [self.state[weight] for weight in weights]
        counts = torch.stack([state["step"] for state in states])
        for state, count in zip(states, counts.unbind(), strict=True):
            state["step"] = count
        averages, squares, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        return _Moments(weights, averages, squares, steps, counts)


def _kind(weight: Tensor) -> str:
    """What the weights have in common that one call of the kernel takes."""
    return f"{weight.device} {weight.dtype}"
