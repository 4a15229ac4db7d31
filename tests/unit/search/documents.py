"""Study documents for tests."""

from __future__ import annotations

import copy
from typing import Any

ADULT_MLP = """
name: adult-mlp                      # [a-z0-9-]{1,64}; unique
objective: {metric: val/accuracy, direction: maximize}
parameters:                          # knobs: dotted path into `trial`, or any name for an own objective
  optimizer.lr:           {low: 1e-4, high: 1e-1, log: true}            # float, inferred from the bounds
  optimizer.name:         {values: [adamw, sgd, rmsprop]}               # categorical
  optimizer.momentum:     {low: 0.0, high: 0.99, when: {optimizer.name: [sgd, rmsprop]}}
  model.hidden:           {values: [[64], [128, 64], [256, 128]]}
  batch_size:             {values: [64, 128, 256]}
  regularization.dropout: {low: 0.0, high: 0.6, step: 0.1}
sampler: {name: tpe, seed: 7}
pruner:  {name: hyperband, min_resource: 1, max_resource: 27, reduction_factor: 3}
budget:  {trials: 60, parallel: 4, timeout: 2h, retries: 2, max_failed: 10}
duplicates: resample                 # allow | resample | reuse
trial:
  kind: train
  data: {source: "sklearn:digits", split: {validation: 0.2, test: 0.2, stratify: true, seed: 0}, normalize: standard}
  model: {name: mlp, hidden: [128, 64], activation: relu, norm: batch, init: kaiming_normal}
  optimizer: {name: adamw, lr: 1e-3, weight_decay: 0.01}
  schedule: {name: cosine, warmup_epochs: 1}
  regularization: {l1: 0, l2: 0, dropout: 0.1, label_smoothing: 0.0, max_grad_norm: 1.0}
  early_stopping: {metric: val/loss, patience: 5, min_delta: 0.0}
  epochs: 27
  batch_size: 128
  checkpoint: {every_epochs: 1, keep: best_and_last}
resources: {pool: default, gpus: 1}  # a CPU worker serves gpus: 0
"""

_TRAIN: dict[str, Any] = {
    "name": "s",
    "objective": {"metric": "val/loss", "direction": "minimize"},
    "parameters": {"optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True}},
    "sampler": {"name": "random", "seed": 7},
    "budget": {"trials": 10},
    "trial": {"kind": "train", "data": {"source": "sklearn:digits"}, "epochs": 5},
}


def train(**sections: Any) -> dict[str, Any]:
    """A study of the built-in training, with some sections replaced; `None` takes one out."""
    document = copy.deepcopy(_TRAIN) | sections
    return {key: value for key, value in document.items() if value is not None}


def external(parameters: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A study whose parameters may have any names."""
    trial = {"kind": "external"}
    return train(parameters=parameters, trial=trial, objective={"metric": "y", "direction": "minimize"}) | sections
