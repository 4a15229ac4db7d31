"""How a study ended: its best trials, and the best one's parameters ready to be used again."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from trialyard.client import Client
from trialyard.errors import BadInput, CommandError
from trialyard.resources import BestTrial, Pareto, Study
from trialyard.study_file import Dumper
from trialyard.tables import figure, front_table, trials_table

# How the metrics of our own training begin that tell how good a model is and what it costs, also compressed.
WORTH = ("val/", "test/", "params", "flops", "seconds", "device_memory", "nonzero", "bytes", "latency")

TABLE_TRIALS = 5


def conclude(console: Console, client: Client, study: Study) -> None:
    """Print the results of a study that has ended.

    Raises:
        BadInput: the preflight refused it; the text names each problem.
        CommandError: it failed or was cancelled, or no trial is complete.
    """
    if study.state == "FAILED" and study.errors:
        raise BadInput("\n".join([f"the study {study.name!r} cannot run:", *(f"  {each}" for each in study.errors)]))
    if study.state != "COMPLETE":
        why = f": {study.reason}" if study.reason else ""
        raise CommandError(f"the study {study.name!r} is {study.state}{why}")
    if len(study.objectives) > 1:
        _conclude_front(console, client, study)
        return
    if study.best is None:
        raise CommandError(f"the study {study.name!r} has ended without a complete trial")
    best_first = "value" if study.objective.direction == "minimize" else "-value"
    complete = client.trials(study.name, "COMPLETE", best_first)
    best = list(islice((trial for trial in complete if trial.feasible is not False), TABLE_TRIALS))
    failed = f", of which {study.counts.failed} failed" if study.counts.failed else ""
    console.print(f"{study.name}: the best {len(best)} of {study.counts.ended} trials{failed}\n", markup=False)
    console.print(trials_table(best))
    console.print()
    print_best(console, client.best(study.name))


def print_front(console: Console, pareto: Pareto) -> None:
    """The trials that no other beats, and how much of the objectives' space they cover."""
    console.print(f"{len(pareto.front)} of {pareto.trials} complete trials are beaten by no other:\n", markup=False)
    console.print(front_table(pareto.front))
    if pareto.volumes and pareto.reference:
        point = ", ".join(f"{metric} {value:.6g}" for metric, value in pareto.reference.items())
        text = f"\nhypervolume: {pareto.volumes[-1].hypervolume:.6g}, counted from {point}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_best(console: Console, best: BestTrial) -> None:
    """All that was measured of the best trial, where its model lies, and its parameters ready to be used."""
    is_ours = best.trial.get("kind", "train") == "train"
    shown = WORTH if is_ours else ("",)
    lines = [f"best trial: {best.number}"]
    metrics = {name: value for name, value in sorted(best.metrics.items()) if name.startswith(shown)}
    width = max(map(len, metrics), default=0) + 2
    lines += [f"  {name:<{width}}{figure(value)}" for name, value in metrics.items()]
    if best.artifacts:
        lines.append(f"its {'model lies' if is_ours else 'files lie'} in {best.artifacts}")
    said = "to be used in a study file" if not best.lineage else "the last of a schedule that its lineage tells"
    lines += ["", f"its parameters, {said}:", "", as_study_section(best)]
    for text in lines:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _conclude_front(console: Console, client: Client, study: Study) -> None:
    """Raises: CommandError: no trial is complete."""
    pareto = client.pareto(study.name)
    if not pareto.front:
        raise CommandError(f"the study {study.name!r} has ended without a complete trial")
    console.print(f"{study.name}: {study.counts.ended} trials have ended", markup=False)
    print_front(console, pareto)


def as_study_section(best: BestTrial) -> str:
    """What a study file needs to train this trial again, as YAML.

    That is the `trial` section; an objective of a person's own takes its parameters from `parameters`, where they stand
    as constants.
    """
    document: dict[str, Any] = {"trial": best.trial}
    if best.trial.get("kind", "train") != "train":
        document["parameters"] = {name: {"value": value} for name, value in best.parameters.items()}
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120).rstrip()


def write_pieces(pieces: Iterable[bytes], path: Path | None) -> None:
    """Write a file as it arrives, or to standard output. A file that did not arrive in full is not left behind.

    Raises:
        BadInput: there can be no such file.
    """
    if path is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(pieces)
        part.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


class _Dumper(Dumper):
    """YAML as a person would write it: sections as blocks, lists in one line."""


def _in_one_line(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(list, _in_one_line)
