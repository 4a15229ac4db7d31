"""The section `constraints`: bounds on reported metrics. A trial that breaks one is infeasible, however good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from search.findings import Finding, of_model, shown
from search.knobs import METRIC, check_metric
from search.sections import Section, name_of

MOST_CONSTRAINTS = 16
BLIND_SAMPLERS = ("cmaes", "pbt")  # those that would search as if there were none


class Constraint(Section):
    """A bound on a metric, as it is at the end of a trial."""

    metric: Annotated[str, Field(pattern=METRIC)]
    at_most: FiniteFloat | None = None
    at_least: FiniteFloat | None = None

    @model_validator(mode="after")
    def _has_one_bound(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("needs one of at_most and at_least; for both bounds write two constraints")
        return self

    @property
    def key(self) -> str:
        """What the sampler knows the constraint by."""
        return f"{self.metric} {'at_least' if self.at_most is None else 'at_most'}"

    def violation(self, value: float) -> float:
        """By how much a value lies beyond the bound; 0 or less where it keeps it."""
        return value - self.at_most if self.at_most is not None else (self.at_least or 0.0) - value


def read_constraints(section: object) -> tuple[tuple[Constraint, ...], list[Finding]]:
    """The constraints that could be read, and what is wrong with the others."""
    if not isinstance(section, list):
        hint = "as in constraints: [{metric: params, at_most: 200000}]"
        return (), [Finding(("constraints",), f"must be a list of mappings, not {shown(section)}", hint)]
    if len(section) > MOST_CONSTRAINTS:
        return (), [Finding(("constraints",), f"has {len(section)} entries", f"{MOST_CONSTRAINTS} are the most")]
    constraints, findings = [], []
    for place, entry in enumerate(section):
        try:
            constraints.append(Constraint.model_validate(entry, strict=True))
        except ValidationError as error:
            findings += of_model(error, Constraint, ("constraints", place))
    return tuple(constraints), findings


def check_constraints(constraints: Sequence[Constraint], document: Mapping[str, Any]) -> list[Finding]:
    """What the constraints, all of which could be read, have to do with each other and with the other sections."""
    findings: list[Finding] = []
    trial, sampler = document.get("trial"), name_of(document.get("sampler"))
    for place, constraint in enumerate(constraints):
        if isinstance(trial, dict):
            findings += check_metric(constraint.metric, trial, ("constraints", place, "metric"))
        earlier = {each.key: each for each in constraints[:place]}
        if constraint.key in earlier:
            findings.append(Finding(("constraints", place), "bounds what an earlier one bounds", "leave one of them"))
        findings += _check_together(constraint, constraints[:place], place)
    if constraints and sampler in BLIND_SAMPLERS:
        message = f"{sampler} cannot learn from constraints, and the study has some"
        findings.append(Finding(("sampler", "name"), message, "take tpe, nsga2 or nsga3"))
    return findings


def _check_together(constraint: Constraint, earlier: Sequence[Constraint], place: int) -> list[Finding]:
    """Whether a metric has both bounds, and nothing lies between them."""
    for other in earlier:
        least = other.at_least if constraint.at_least is None else constraint.at_least
        most = other.at_most if constraint.at_most is None else constraint.at_most
        if other.metric == constraint.metric and least is not None and most is not None and least > most:
            message = f"no {constraint.metric} is at least {least:g} and at most {most:g}"
            return [Finding(("constraints", place), message, "exchange the bounds")]
    return []
