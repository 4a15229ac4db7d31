"""Training passes compiled by PyTorch (Ansel et al. 2024): whether, from when on, and what it is worth."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.models.layers import Network
from trainer.ranks import Forward

COMPILING_SECONDS = 30.0  # what it takes for small models on two cores; larger ones are also trained longer
PAYS_FROM = 20  # an attempt that comes to nothing costs a twentieth of what is left at most
GAIN = 0.95  # of an epoch's time; less gained is as much as epochs differ by themselves

Stage = Literal["plain", "tried", "kept", "off"]


class Passes:
    """How a training's passes run: one operation after another, or compiled. Validation is never compiled.

    `true` compiles before the first step. `auto` looks at the second epoch, as the first has in it what happens only
    once: if the epochs that are left would take twenty times what compiling takes, it is tried, and kept if epochs are
    faster. What it decides depends on time: such a training is the same from seed to seed, and after a resumption, only
    up to how compiled code rounds. `cuda_graphs` compiles, and has a GPU repeat its kernels without the processor.
    """

    def __init__(self, config: TrainConfig, device: torch.device, ranks: int = 1) -> None:
        hindrance = _hindrance(config, device, ranks) if config.compile else None
        self.stage: Stage = "plain" if config.compile == "auto" else "kept" if config.compile else "off"
        self.notes: list[str] = []  # for the log
        if hindrance:
            self._decide("off", f"{hindrance}; trained without")
        self._batch_size = config.batch_size
        self._graphs = config.compile == "cuda_graphs"
        self._compiled: tuple[Network, Forward] | None = None
        self._epochs = 0  # in this stage
        self._plain_seconds = 0.0  # of an epoch that was not compiled
        self._first_seconds = 0.0  # of the first that was

    def of(self, model: Network, plain: Forward) -> Forward:
        """What computes the outputs of a model's batches: `plain`, or the model compiled. It is compiled for full
        batches, and leaves the others to `plain`.
        """
        if self.stage in ("plain", "off"):
            return plain
        if self._compiled is None or self._compiled[0] is not model:
            self._compiled = (model, _compile(model, self._graphs))
        compiled = self._compiled[1]

        def forward(*inputs: Tensor) -> Tensor:
            if len(inputs[0]) != self._batch_size or self.stage == "off":
                return plain(*inputs)
            try:
                return compiled(*inputs)
            except torch._dynamo.exc.TorchDynamoException as error:
                self._decide("off", f"it failed, and the training goes on without ({str(error).splitlines()[0]})")
                return plain(*inputs)

        return forward

    def took(self, seconds: float, left: int) -> None:
        """Take in how long an epoch's steps took, of which so many are left, and decide."""
        self._epochs += 1
        compiling = self._first_seconds - seconds
        if self._epochs == 1:
            self._first_seconds = seconds
        elif self.stage == "plain":
            self._plain_seconds = seconds
            pays = left * seconds >= PAYS_FROM * COMPILING_SECONDS
            verdict = "it is tried" if pays else "too few for it to pay"
            self._decide("tried" if pays else "off", f"{left} epochs of {seconds:.3g} s are left, {verdict}")
        elif self.stage == "tried":
            kept = seconds < GAIN * self._plain_seconds
            times = f"an epoch {seconds:.3g} s in place of {self._plain_seconds:.3g}"
            self._decide(
                "kept" if kept else "off", f"took {compiling:.3g} s, {times}: {'kept' if kept else 'given up'}"
            )
        elif self.stage == "kept" and self._epochs == 2 and not self._plain_seconds:
            self.notes.append(f"compile: took {compiling:.3g} s, an epoch {seconds:.3g}")

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to keep, so that a resumed training goes on in the same way."""
        return {"stage": self.stage, "plain_seconds": self._plain_seconds}

    def restore(self, state: dict[str, Any]) -> None:
        if self.stage != "off":  # else it cannot be done here
            self.stage, self._plain_seconds = state["stage"], state["plain_seconds"]

    def _decide(self, stage: Stage, why: str) -> None:
        self.stage, self._epochs = stage, 0
        self.notes.append(f"compile: {why}")


def _compile(model: Network, graphs: bool) -> Forward:
    torch.compiler.reset()  # what a process may compile of one function is bounded, and earlier trainings are over
    # In this process: those that PyTorch starts for it would outlive it, and a slot has one core.
    options: dict[str, Any] = {"compile_threads": 1, "triton.cudagraphs": graphs}
    compiled = torch.compile(model, dynamic=model.pad is not None, options=options)  # texts differ in length
    if not graphs:
        return compiled

    def forward(*inputs: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # the last step's tensors are used
        outputs: Tensor = compiled(*inputs)
        return outputs

    return forward


def _hindrance(config: TrainConfig, device: torch.device, ranks: int) -> str | None:
    if config.cross_validation or config.seeds > 1:
        return "of several models a trial none is compiled"
    if ranks > 1:
        return "a training over several processes is not compiled"
    if config.data.augment.acting.fgsm:
        return "with data.augment.fgsm each step needs the gradients of its passes twice, which compiled ones forget"
    if config.compile == "cuda_graphs" and device.type != "cuda":
        return "cuda_graphs needs a GPU"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "for GPUs it needs the package triton"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++")):
        return "it needs a C++ compiler (g++ or clang++), and there is none on this machine"
    return None
