"""What a person may change of a study that has not ended, and the definition that comes of it."""

from __future__ import annotations

from typing import Any

from search.conditions import Conditions
from search.definition import Definition, parse
from search.findings import Finding, nearest, problems
from search.fitting import Fitting
from search.optuna_study import OptunaStudy
from search.sections import MOST_TRIALS
from store.errors import DefinitionError
from store.messages import Amend

CHANGEABLE = ("trials", "parallel", "timeout", "device_hours", "max_failed", "target", "patience_trials")
MOST_SPACES = 100  # versions of a study's space: each is kept


def changed(document: dict[str, Any], request: Amend, versions: int) -> Definition:
    """The definition with another priority, with some keys of its budget changed, some parameters changed or added.

    Args:
        document: the definition as it stands.
        versions: how many spaces the study has had.

    Raises:
        DefinitionError: the study would not be valid, or something is not to be changed; names the places.
    """
    findings = [
        Finding(("budget", key), "cannot be changed", nearest(key, CHANGEABLE))
        for key in request.budget
        if key not in CHANGEABLE
    ]
    findings += [
        Finding(("parameters", name), "cannot be taken out", "make it a constant, as in {value: 0.1}")
        for name, entry in request.parameters.items()
        if entry is None
    ]
    if document.get("deterministic") and "parallel" in request.budget:
        message = "decides what a deterministic study knows when it proposes, and cannot be changed"
        findings.append(Finding(("budget", "parallel"), message, "begin another study"))
    if request.parameters and document["sampler"]["name"] == "pbt":
        message = "are the members' own while they train, and cannot be changed"
        findings.append(Finding(("parameters",), message, "begin another study"))
    if request.parameters and versions >= MOST_SPACES:
        findings.append(Finding(("parameters",), f"have been changed {versions:,} times", "begin another study"))
    if findings:
        raise DefinitionError(problems(findings, request.model_dump()))
    parameters = document["parameters"] | request.parameters
    priority = {} if request.priority is None else {"priority": request.priority}
    return parse(document | {"parameters": parameters, "budget": document["budget"] | request.budget} | priority)


def amended(definition: Definition, request: Amend, optuna: OptunaStudy) -> Definition:
    """The same for a study in memory. A grid that runs to its end goes on to run to its end.

    Raises:
        DefinitionError
    """
    after = changed(definition.document(), request, 0)
    if definition.sampler.name != "grid" or "trials" in request.budget:
        return after
    whole, larger = (Conditions(each.parameters).size or 0 for each in (definition, after))
    if definition.budget.trials != min(whole, MOST_TRIALS):
        return after
    outside = optuna.count_outside(Fitting(after))  # they are made and count, but are no cells
    return changed(after.document(), Amend(study_id=0, budget={"trials": min(larger + outside, MOST_TRIALS)}), 0)
