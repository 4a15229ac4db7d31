"""Answers the questions of a scheduler's `gp` studies: which relative parameters Optuna's GPSampler proposes.

Started by the scheduler (`search/gp_process.py`) by path, so that torch is loaded in this process alone; of ours it
imports nothing. `gaussian_process.py CHANNEL_FD PARENT_PID` reads JSON questions and writes JSON answers until the
other end closes or the parent dies. It keeps nothing between two questions: what the sampler would remember, the
kernels of its last fit, comes with the question and goes back with the answer.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.samplers import GPSampler
from optuna.trial import create_trial

PR_SET_PDEATHSIG = 1
POLITENESS = 5  # the scheduler on the same machine comes first
_KERNEL = ("inverse_squared_lengthscales", "kernel_scale", "noise_var")


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The sampler's proposal, and the kernels that it has fitted.

    Args:
        question: `directions`, `options` (of the sampler), `seed`, `space` (JSON of a distribution by name), `trials`
            (`values`, None of one that runs; `parameters` in the order of the space; `constraints`), and `kernels` and
            `constraint_kernels` of the answer before, or None.
    """
    sampler = GPSampler(seed=0, warn_independent_sampling=False, **question["options"])
    sampler._rng.rng.seed(question["seed"])
    sampler._gprs_cache_list = _restored(question["kernels"])
    sampler._constraints_gprs_cache_list = _restored(question["constraint_kernels"])
    space = {name: json_to_distribution(text) for name, text in question["space"].items()}
    study = optuna.create_study(directions=question["directions"])
    for trial in question["trials"]:
        study.add_trial(_trial(trial, space))
    asked = study._storage.get_trial(study._storage.create_new_trial(study._study_id))
    parameters = sampler.sample_relative(study, asked, space)
    return {
        "parameters": parameters,
        "kernels": _stored(sampler._gprs_cache_list),
        "constraint_kernels": _stored(sampler._constraints_gprs_cache_list),
    }


def _trial(trial: dict[str, Any], space: dict[str, Any]) -> optuna.trial.FrozenTrial:
    running = trial["values"] is None
    return create_trial(
        state=optuna.trial.TrialState.RUNNING if running else optuna.trial.TrialState.COMPLETE,
        values=trial["values"],
        params=dict(zip(space, trial["parameters"], strict=True)),
        distributions=space,
        system_attrs={f"constraints:{place}": value for place, value in enumerate(trial["constraints"])},
    )


def _restored(kernels: Sequence[Sequence[Any]] | None) -> Any:
    """What the sampler looks at of the regressors that it has fitted before: where to begin the next fit."""
    if kernels is None:
        return None
    import torch  # Optuna loads it with the first question, when this process already ends with its parent

    parts = ([torch.tensor(part, dtype=torch.float64) for part in each] for each in kernels)
    return [SimpleNamespace(**dict(zip(_KERNEL, each, strict=True))) for each in parts]


def _stored(regressors: Any) -> list[list[Any]] | None:
    return None if regressors is None else [[getattr(each, name).tolist() for name in _KERNEL] for each in regressors]


def main(channel: int, parent: int) -> int:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return 1  # it died while torch was loaded
    os.nice(POLITENESS)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    connection = Connection(channel)
    while True:
        try:
            question = json.loads(connection.recv_bytes())
        except EOFError:
            return 0
        try:
            told = answer(question)
        except (ValueError, RuntimeError, ArithmeticError) as error:  # of the linear algebra; RuntimeError is torch's
            told = {"error": f"{type(error).__name__}: {error}"}
        connection.send_bytes(json.dumps(told).encode())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
