"""From a file of another tool to the text of a study file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from trialyard.errors import Problem
from trialyard.importing import katib, nni, optuna, vizier, wandb
from trialyard.importing.foreign import Draft, Findings, Section, Unreadable
from trialyard.study_file import as_yaml, from_yaml

Form = Literal["wandb", "katib", "optuna", "nni", "vizier"]

_READERS: dict[Form, Callable[[Section], Draft]] = {
    "wandb": wandb.read,
    "katib": katib.read,
    "optuna": optuna.read,
    "nni": nni.read,
    "vizier": vizier.read,
}


@dataclass(frozen=True)
class Given:
    """What a person says beside the file; it counts before what the file says."""

    fallback_name: str  # where neither a person nor the file names the study
    name: str | None = None
    metric: str | None = None
    direction: Literal["minimize", "maximize"] | None = None
    trials: int | None = None
    trial: dict[str, Any] | None = None  # the section; without it the person is to fill it in


@dataclass(frozen=True)
class Imported:
    """A study file. `notes`: what did not come along, as it has no part in the search or another name here."""

    text: str
    notes: tuple[str, ...]


def convert(text: str, form: Form, given: Given) -> Imported:
    """The study file for a search that was defined for another tool.

    Raises:
        StudyFileError: the text is neither YAML nor JSON.
        Unreadable: something in it cannot be carried over, or is missing; tells every place.
    """
    findings = Findings()
    draft = _READERS[form](Section(from_yaml(text), "", findings))
    document = _document(draft, given, findings)
    if findings.problems:
        raise Unreadable(findings.problems)
    return Imported(_written(document, findings.notes), tuple(findings.notes))


def _document(draft: Draft, given: Given, findings: Findings) -> dict[str, Any]:
    """The sections of the study, in the order in which people read them."""
    if not draft.parameters and not findings.problems:
        findings.wrong("", "the file describes no parameters")
    document: dict[str, Any] = {"name": given.name or slug(draft.name or "") or given.fallback_name}
    document["objective"] = _objective(draft, given, findings)
    document["parameters"] = draft.parameters
    if draft.sampler:
        document["sampler"] = draft.sampler
    if draft.pruner:
        document["pruner"] = draft.pruner
    budget = draft.budget | ({} if given.trials is None else {"trials": given.trials})
    if "trials" not in budget and (draft.sampler or {}).get("name") != "grid":
        findings.problems.append(
            Problem(path="budget", message="the file says no number of trials", hint="give --trials")
        )
    if budget:
        document["budget"] = {"trials": budget.pop("trials"), **budget} if "trials" in budget else budget
    if given.trial is not None:
        document["trial"] = given.trial
    return document


def _objective(draft: Draft, given: Given, findings: Findings) -> Any:
    if given.metric is not None and given.direction is not None:
        return {"metric": given.metric, "direction": given.direction}
    if not draft.objectives:
        message, hint = "the file names no metric to search by", "give --metric and --direction"
        findings.problems.append(Problem(path="objective", message=message, hint=hint))
        return None
    if len(draft.objectives) > 1:
        return draft.objectives
    only = draft.objectives[0]
    return {"metric": given.metric or only["metric"], "direction": given.direction or only["direction"]}


def slug(name: str) -> str:
    """A study's name made of any text: lower-case letters, digits and hyphens, at most 64."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].strip("-")


def _written(document: dict[str, Any], notes: list[str]) -> str:
    """YAML as a person would write it: a line a section, and one a parameter."""
    lines = [f"# {note}" for note in notes]
    for key, section in document.items():
        if key == "parameters":
            lines += ["parameters:", *(f"  {as_yaml(name)}: {as_yaml(entry)}" for name, entry in section.items())]
        else:
            lines.append(f"{key}: {as_yaml(section)}")
    if "trial" not in document:
        lines.append("# trial: say here what one trial is, as in {kind: objective, name: my-script}")
    return "\n".join(lines) + "\n"
