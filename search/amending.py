"""What a person may change of a study that has not ended, and the definition that comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from search.conditions import Conditions
from search.definition import Definition, parse
from search.findings import Finding, problems
from search.fitting import Fitting
from search.optuna_study import OptunaStudy
from search.parameter_constraints import SECTION
from search.points import SECTION as ENQUEUE
from search.sections import MOST_TRIALS, Budget
from search.suggestions import nearest
from store.errors import DefinitionError, Problem
from store.messages import Amend

CHANGEABLE = ("trials", "parallel", "timeout", "device_hours", "max_failed", "target", "patience_trials")
_WHAT_CAN = f"these can: {', '.join(CHANGEABLE)}"
MOST_SPACES = 100  # versions of a study's space: each is kept


def changed(document: dict[str, Any], request: Amend, versions: int, enqueued: int) -> Definition:
    """The definition with another priority, other keys of its budget, other or more parameters, other constraints.

    Args:
        document: the definition as it stands.
        versions: how many spaces the study has had.
        enqueued: how many trials of its `enqueue` are made. They may lie outside of another space; the others may not.

    Raises:
        DefinitionError: the study would not be valid, or something is not to be changed; names the places.
    """
    findings = [
        Finding(("budget", key), "cannot be changed", _WHAT_CAN)
        if key in Budget.model_fields
        else Finding(("budget", key), "is no key that is known here", nearest(key, CHANGEABLE))
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
    if request.changes_space:
        findings += _check_space(document, ("parameters",) if request.parameters else (SECTION,), versions)
    if findings:
        raise DefinitionError(problems(findings, request.model_dump()))
    parameters = document["parameters"] | request.parameters
    whole = {"priority": request.priority, SECTION: request.parameter_constraints}
    replaced = {key: value for key, value in whole.items() if value is not None}
    if request.changes_space and ENQUEUE in document:
        replaced[ENQUEUE] = document[ENQUEUE][enqueued:]
    try:
        return parse(document | {"parameters": parameters, "budget": document["budget"] | request.budget} | replaced)
    except DefinitionError as error:
        made = enqueued if ENQUEUE in replaced else 0
        raise DefinitionError([_counted_on(each, made) for each in error.problems]) from None


def _counted_on(problem: Problem, made: int) -> Problem:
    """A problem of an entry of `enqueue` at its place beside those that are made."""
    path = re.sub(r"(?<=^enqueue\[)\d+", lambda place: str(int(place[0]) + made), problem.path)
    return replace(problem, path=path)


def _check_space(document: dict[str, Any], at: tuple[str, ...], versions: int) -> Iterator[Finding]:
    if document["sampler"]["name"] == "pbt":
        message = "are the members' own while they train, and cannot be changed"
        yield Finding(at, message, "begin another study")
    if versions >= MOST_SPACES:
        yield Finding(at, f"have been changed {versions:,} times", "begin another study")


def amended(definition: Definition, request: Amend, optuna: OptunaStudy, enqueued: int) -> Definition:
    """The same for a study in memory. A grid that runs to its end goes on to run to its end.

    Raises:
        DefinitionError
    """
    after = changed(definition.document(), request, 0, enqueued)
    if definition.sampler.name != "grid" or "trials" in request.budget:
        return after
    whole, larger = (Conditions(each.parameters).size or 0 for each in (definition, after))
    # Trials of earlier spaces are made and count, but are no cells; those that FAILED do not, if such are tried again.
    strangers = Fitting(definition)
    least, most = (min(whole + optuna.count_outside(strangers, failed), MOST_TRIALS) for failed in (False, True))
    if not least <= definition.budget.trials <= most:
        return after
    outside = optuna.count_outside(Fitting(after), failed=not definition.budget.retries)
    return changed(after.document(), Amend(study_id=0, budget={"trials": min(larger + outside, MOST_TRIALS)}), 0, 0)
