"""Studies and trials as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from trialyard.resources import Best, Rungs, Study, Trial

EXITED = "exit code"  # how a command is said to have ended by itself
MOST_PARAMETERS = 6  # more make a table that no terminal holds


def studies_table(studies: Iterable[Study]) -> Table:
    table = _table("study", "state", "trials", "running", "best", "created")
    for study in studies:
        total = "" if study.total is None else f"/{study.total}"
        table.add_row(
            study.name,
            study.state,
            f"{study.counts.ended}{total}",
            str(study.counts.running),
            measured(study.best.values) if study.best else "",
            moment(study.created_at),
        )
    return table


def moment(at: datetime) -> str:
    """A time by the clock on the wall of whoever reads it."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def trials_table(trials: Sequence[Trial]) -> Table:
    """Trials with their values and the parameters that tell them apart, as many as there is room for.

    A column that would say the same of every trial is left out, and so is the state of trials that are all complete.
    """
    metrics = list(dict.fromkeys(name for trial in trials for name in trial.values or ()))
    parameters = _telling_parameters(trials)
    states = ["state"] if any(trial.state != "COMPLETE" for trial in trials) else []
    reasons = ["reason"] if any(trial.reason for trial in trials) else []
    copies = ["went on from"] if any(trial.lineage for trial in trials) else []
    table = _table("trial", *states, *metrics, *parameters, *copies, *reasons)
    for trial in trials:
        values = (_short(trial.values[name]) if trial.values else "" for name in metrics)
        given = (_short(trial.parameters.get(name, "")) for name in parameters)
        table.add_row(
            str(trial.number),
            *[trial.state] * len(states),
            *values,
            *given,
            *[_sources(trial)] * len(copies),
            *[short_reason(trial.reason or "")] * len(reasons),
        )
    return table


def short_reason(reason: str) -> str:
    """In one line: of a command that ended by itself what it printed last, of one that was ended why."""
    headline, _, printed = reason.partition("; its last lines:\n")
    return headline if printed and EXITED not in headline else reason.rstrip().rsplit("\n", 1)[-1].strip()


def front_table(front: Sequence[Best]) -> Table:
    """The trials of a front with their values and the parameters that tell them apart."""
    metrics = list(front[0].values) if front else []
    parameters = _telling_parameters(front)
    table = _table("trial", *metrics, *parameters)
    for trial in front:
        given = (_short(trial.parameters.get(name, "")) for name in parameters)
        table.add_row(str(trial.number), *(_short(trial.values[name]) for name in metrics), *given)
    return table


def importance_table(shares: Mapping[str, float]) -> Table:
    """Parameters and their shares, as they come."""
    table = _table("parameter", "share")
    for name, share in shares.items():
        table.add_row(name, f"{share:.3f}")
    return table


def rungs_table(rungs: Rungs) -> Table:
    """A row for each rung, with its bracket where there are several."""
    brackets = ["bracket"] if len(rungs.brackets) > 1 else []
    table = _table(*brackets, "rung", "reached", "stopped", "waiting")
    for bracket in rungs.brackets:
        for rung in bracket.rungs:
            counts = (rung.step, rung.reached, rung.stopped, rung.waiting)
            table.add_row(*[str(bracket.bracket)] * len(brackets), *map(str, counts))
    return table


def print_study(console: Console, study: Study) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in study.counts.model_dump().items() if count) or "none"
    lines = [
        f"{study.name}: {study.state}" + (f" ({study.reason})" if study.reason else ""),
        f"objective: {_objectives(study)}",
        f"trials: {counts}" + (f"; {study.total} in all" if study.total is not None else ""),
    ]
    if study.space_version > 1:
        lines.append(f"space: version {study.space_version}")
    lines += [f"every trial keeps: {each}" for each in study.definition.get("parameter_constraints", [])]
    if given := len(study.definition.get("enqueue", [])):
        lines.append(f"given by the study file: {given} of the trials")
    if study.warm_start is not None:
        lines.append(f"began with: {_warm_start(study.warm_start)}")
    if study.best is not None:
        lines.append(f"best: trial {study.best.number}, {measured(study.best.values)}")
    lines += [f"  {problem}" for problem in study.errors or ()]
    for text in lines:
        console.print(text, markup=False, soft_wrap=True)


def room(kinds: Mapping[str, int]) -> str:
    """The bytes of a study's files, the most first."""
    ranked = sorted(kinds.items(), key=lambda each: -each[1])
    parts = ", ".join(f"{kind} {decimal(size)}" for kind, size in ranked)
    return f"files: {decimal(sum(kinds.values()))}" + (f" ({parts})" if parts else "")


def _objectives(study: Study) -> str:
    text = ", ".join(f"{objective.direction} {objective.metric}" for objective in study.objectives)
    bounds = [
        f"{each['metric']} at {bound} {each[f'at_{bound}']:g}"
        for each in study.definition.get("constraints", [])
        for bound in ("most", "least")
        if f"at_{bound}" in each
    ]
    return f"{text}, with {' and '.join(bounds)}" if bounds else text


def _warm_start(warm: dict[str, Any]) -> str:
    left_out = [f"{each['trials']} not taken over ({each['reason']})" for each in warm["left_out"]]
    return "; ".join([f"{warm['taken']} trials of {warm['study']}", *left_out])


def measured(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


def figure(value: float) -> str:
    """Six digits that tell; of a whole number, such as one of parameters or bytes, all it has."""
    return f"{value:,.0f}" if abs(value) >= 1e6 and value == round(value) else f"{value:.6g}"


def _sources(trial: Trial) -> str:
    """The trials whose checkpoints a member of a population went on from, in order."""
    return ", ".join(f"{copy.source} at {copy.source_step}" for copy in trial.lineage)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _telling_parameters(trials: Sequence[Trial | Best]) -> list[str]:
    names = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    differing = [name for name in names if len({_short(trial.parameters.get(name)) for trial in trials}) > 1]
    return (differing or names)[:MOST_PARAMETERS]


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
