"""Sweep configurations of Weights & Biases (YAML)."""

from __future__ import annotations

import math
from typing import Any

from trialyard.importing.foreign import Draft, Parameters, Section
from trialyard.importing.ranges import BOUNDS_HINT, NO_BOUNDS, floats, integers, quantized, quantized_log

_STARTS = ("program", "command", "project", "entity", "description", "job", "imports")
_SAMPLERS = {"grid": "grid", "random": "random", "bayes": "tpe"}
_EXPONENTS = ("log_uniform", "inv_log_uniform", "q_log_uniform")
MOST_EXPONENT = 700  # beyond it a power of e is no number any more
_UNBOUNDED = ("normal", "q_normal", "log_normal", "q_log_normal")


def read(file: Section) -> Draft:
    """The study that a sweep describes."""
    draft = Draft(name=file.text("name"))
    file.leave(_STARTS, "`trial` says here what runs")
    method = file.text("method")
    if method in _SAMPLERS:
        draft.sampler = {"name": _SAMPLERS[method]}
    else:
        file.wrong("method", f"{method!r} is none of {', '.join(_SAMPLERS)}")
    if method == "bayes":
        file.findings.notes.append("method: bayes has become tpe, which models the objective by densities")
    if "metric" in file:
        _read_metric(file.section("metric"), draft)
    if "early_terminate" in file:
        draft.pruner = _read_stopping(file.section("early_terminate"))
    if (runs := file.whole("run_cap")) is not None:
        draft.budget["trials"] = runs
    draft.parameters = _read_parameters(file.section("parameters"), "")
    file.close()
    return draft


def _read_metric(metric: Section, draft: Draft) -> None:
    name, goal = metric.text("name"), metric.text("goal") or "minimize"
    if goal not in ("minimize", "maximize"):
        metric.wrong("goal", f"{goal!r} is none of minimize, maximize")
    if name:
        draft.objectives.append({"metric": name, "direction": goal})
    else:
        metric.wrong("name", "is missing")
    if (target := metric.number("target")) is not None:
        draft.budget["target"] = target
    metric.close()


def _read_stopping(stopping: Section) -> dict[str, Any] | None:
    """W&B's hyperband has rungs at min_iter · eta^k and stops who is not among the best 1/eta: successive halving.

    Instead of the first rung a sweep may name the last step of a run and how many rungs lie before it.
    """
    kind, eta = stopping.text("type"), stopping.whole("eta")
    first, last, rungs = stopping.whole("min_iter"), stopping.whole("max_iter"), stopping.whole("s")
    strict = stopping.take("strict", False)
    factor = 3 if eta is None else eta
    if kind != "hyperband":
        stopping.wrong("type", f"{kind!r} is not hyperband, the one that sweeps know")
    if strict:
        stopping.wrong("strict", "cannot be carried over", "leave it out")
    stopping.close()
    if first is None and last is not None and rungs is not None and factor > 1 and 0 < rungs < 64:
        first = last // factor**rungs
    if not first:
        stopping.wrong("min_iter", "the first rung is missing", "name it: min_iter, or max_iter and s")
        return None
    return {"name": "successive_halving", "min_resource": first, "reduction_factor": factor}


def _read_parameters(section: Section, prefix: str) -> Parameters:
    """Entries by name; those of a nested mapping have their path as a name, joined by dots."""
    parameters: Parameters = {}
    for name in section.names():
        entry = section.section(name)
        found: Parameters = {}
        if "parameters" in entry:
            found = _read_parameters(entry.section("parameters"), f"{prefix}{name}.")
        elif entry.is_mapping and (read := _read_entry(entry)) is not None:
            found = {prefix + name: read}
        entry.close()
        for twice in found.keys() & parameters.keys():
            entry.wrong("", f"gives {twice} a second time", "rename one of them")
        parameters |= found
    return parameters


def _read_entry(entry: Section) -> dict[str, Any] | None:
    kind = entry.text("distribution")
    if "value" in entry:
        return {"value": entry.take("value")} if kind in (None, "constant") else _contradicts(entry, kind)
    if "values" in entry:
        if kind not in (None, "categorical", "categorical_w_probabilities"):
            return _contradicts(entry, kind)
        _read_probabilities(entry)
        return {"values": entry.choices("values")}
    if kind in _UNBOUNDED:
        entry.leave(("mu", "sigma", "q"), "the distribution is not carried over")
        entry.wrong("distribution", f"{kind} {NO_BOUNDS}", BOUNDS_HINT)
        return None
    low, high = entry.number("min"), entry.number("max")
    if low is None or high is None:
        entry.wrong("", "says no values", "a sweep names value, values, or min and max")
        return None
    return _read_range(entry, kind, low, high)


def _read_range(entry: Section, kind: str | None, low: float, high: float) -> dict[str, Any] | None:
    if kind in _EXPONENTS and max(abs(low), abs(high)) > MOST_EXPONENT:
        entry.wrong(
            "", f"has exponents for bounds, and e^{high} is no number", f"write {kind}_values, if they are values"
        )
        return None
    quantum = entry.number("q", 1) if (kind or "").startswith("q_") else None
    q = 1 if quantum is None else quantum
    match kind:
        case "int_uniform":
            return integers(entry, low, high)
        case "uniform":
            return floats(entry, low, high)
        case None:
            both_whole = isinstance(low, int) and isinstance(high, int)
            return integers(entry, low, high) if both_whole else floats(entry, low, high)
        case "log_uniform":  # the bounds are exponents
            return floats(entry, math.exp(low), math.exp(high), log=True)
        case "inv_log_uniform":  # log(1/x) is uniform between them
            return floats(entry, math.exp(-high), math.exp(-low), log=True)
        case "log_uniform_values" | "inv_log_uniform_values":  # log(1/x) is uniform where log(x) is
            return floats(entry, low, high, log=True)
        case "q_uniform":
            return quantized(entry, low, high, q)
        case "q_log_uniform":
            return quantized_log(entry, math.exp(low), math.exp(high), q)
        case "q_log_uniform_values":
            return quantized_log(entry, low, high, q)
    entry.wrong("distribution", f"{kind!r} cannot be carried over", BOUNDS_HINT)
    return None


def _read_probabilities(entry: Section) -> None:
    shares = entry.values("probabilities")
    if len(set(shares)) > 1:
        hint = "leave them out"
        entry.wrong("probabilities", "are not all equal, and samplers here begin with equal ones", hint)


def _contradicts(entry: Section, kind: str | None) -> dict[str, Any] | None:
    entry.take("value")
    entry.take("values")
    entry.wrong("distribution", f"{kind} does not go with a list of values or a constant")
    return None
