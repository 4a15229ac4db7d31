"""How a study ended: its best trials, and the best one's parameters ready to be used again."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Iterable
from typing import Any

import yaml
from rich.console import Console

from trialyard.client import Client
from trialyard.errors import BadInput, CommandError
from trialyard.resources import Study, Trial
from trialyard.tables import trials_table

TABLE_TRIALS = 5


def conclude(console: Console, client: Client, study: Study) -> None:
    """Print the results of a study that has ended.

    Raises:
        BadInput: the preflight refused it; the text names each problem.
        CommandError: it failed or was cancelled.
    """
    if study.state == "FAILED" and study.errors:
        raise BadInput("\n".join([f"the study {study.name!r} cannot run:", *(f"  {each}" for each in study.errors)]))
    if study.state != "COMPLETE":
        why = f": {study.reason}" if study.reason else ""
        raise CommandError(f"the study {study.name!r} is {study.state}{why}")
    best = best_trials(study, client.trials(study.name), TABLE_TRIALS)
    if not best:
        raise CommandError(f"the study {study.name!r} has ended without a complete trial")
    console.print(f"{study.name}: the best {len(best)} of {study.done} trials\n", markup=False)
    console.print(trials_table(best))
    console.print()
    print_best(console, study, client.trial(study.name, best[0].number))


def best_trials(study: Study, trials: Iterable[Trial], count: int) -> list[Trial]:
    """The best complete trials, best first; the earlier of two that are equal."""
    objective = study.objective
    sign = 1 if objective.direction == "minimize" else -1
    complete = (trial for trial in trials if trial.state == "COMPLETE" and trial.values)
    return heapq.nsmallest(
        count, complete, key=lambda trial: (sign * (trial.values or {})[objective.metric], trial.number)
    )


def print_best(console: Console, study: Study, trial: Trial) -> None:
    """All that was measured of the best trial, where its model lies, and its parameters as a `trial:` section."""
    lines = [f"best trial: {trial.number}"]
    metrics = sorted((trial.metrics or {}).items())
    lines += [f"  {name:<24}{value:.6g}" for name, value in metrics if name.startswith(("val/", "test/"))]
    if trial.artifacts:
        lines.append(f"its model lies in {trial.artifacts}")
    lines += ["", "its parameters, to be used in a study file:", "", fixed_parameters(study, trial.parameters)]
    for text in lines:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def fixed_parameters(study: Study, parameters: dict[str, Any]) -> str:
    """The `trial` section of a study with a trial's parameters put in, as YAML.

    An objective of a person's own takes its parameters from `parameters`: they are listed there as constants.
    """
    trial = copy.deepcopy(study.definition["trial"])
    document = {"trial": trial}
    if trial.get("kind", "train") == "train":
        for path, value in parameters.items():
            _put(trial, path.split("."), value)
    else:
        document["parameters"] = {name: {"value": value} for name, value in parameters.items()}
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120).rstrip()


def _put(section: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        section = section.setdefault(name, {})
    section[path[-1]] = value


class _Dumper(yaml.SafeDumper):
    """YAML as a person would write it: sections as blocks, lists in one line."""


def _in_one_line(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(list, _in_one_line)
