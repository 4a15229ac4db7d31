"""The section `objective`: one metric to search by, or several of which none may be given up for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from search.findings import Finding, Location, of_model, shown
from search.knobs import check_metric
from search.sections import Objective, name_of

MOST_OBJECTIVES = 4  # beyond, hardly a trial is beaten by another, and a front says nothing
SAMPLERS = ("auto", "grid", "random", "tpe", "gp", "nsga2", "nsga3", "qmc")  # those that can search by several
PRUNERS = ("none", "successive_halving", "hyperband", "asha")  # those that can judge by several


def read_objectives(section: object) -> tuple[tuple[Objective, ...], list[Finding]]:
    """The objectives that could be read, in their order, and what is wrong with the others."""
    if not isinstance(section, list):
        return _read([(("objective",), section)])
    if not 2 <= len(section) <= MOST_OBJECTIVES:
        hint = "write a single one without a list" if len(section) < 2 else "make the others constraints"
        entries = "1 entry" if len(section) == 1 else f"{len(section)} entries"
        message = f"has {entries}, and several objectives are 2 to {MOST_OBJECTIVES}"
        return (), [Finding(("objective",), message, hint)]
    return _read([(("objective", place), each) for place, each in enumerate(section)])


def check_objectives(objectives: Sequence[Objective], document: Mapping[str, Any]) -> list[Finding]:
    """What the objectives have to do with each other and with the other sections."""
    several, trial = len(objectives) > 1, document.get("trial")
    findings: list[Finding] = []
    for place, objective in enumerate(objectives):
        at: Location = ("objective", place, "metric") if several else ("objective", "metric")
        if isinstance(trial, dict):
            findings += check_metric(objective.metric, trial, at)
        if objective.metric in (each.metric for each in objectives[:place]):
            findings.append(Finding(at, f"{objective.metric} is there already", "name each metric once"))
    return findings + (_check_company(document) if several else [])


def _read(entries: list[tuple[Location, object]]) -> tuple[tuple[Objective, ...], list[Finding]]:
    objectives, findings = [], []
    for at, entry in entries:
        try:
            objectives.append(Objective.model_validate(entry, strict=True))
        except ValidationError as error:
            findings += of_model(error, Objective, at)
    return tuple(objectives), findings


def _check_company(document: Mapping[str, Any]) -> list[Finding]:
    """Sections that cannot do with several objectives."""
    findings = []
    for section, able in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        name = name_of(document.get(section))
        if name is not None and name not in able:
            message = f"{shown(name)} knows a single objective, and the study has several"
            findings.append(Finding((section, "name"), message, f"take one of {', '.join(able)}"))
    budget = document.get("budget")
    if isinstance(budget, dict) and budget.get("target") is not None:
        message = "is a value of one objective, and the study has several"
        findings.append(Finding(("budget", "target"), message, "leave it out; patience_trials watches the front"))
    return findings
