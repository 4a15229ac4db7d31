"""What a study orders for the time after its search: whether its trials can be trained again so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from search.findings import Finding, shown
from search.sections import name_of


def check_rescore(document: dict[str, Any]) -> Iterator[Finding]:
    """What cannot be trained again from other seeds, or has no mean over them."""
    objective = document.get("objective")
    if (why := _cannot_be_trained_again(document)) is not None:
        yield Finding(("rescore",), why, "leave it out")
    elif isinstance(objective, dict) and not str(objective.get("metric", "val/")).startswith("val/"):
        hint = "search by a metric val/…, or leave it out"
        yield Finding(("rescore",), f"{shown(objective['metric'])} is the same from all seeds, or measures none", hint)


def check_refit(document: dict[str, Any]) -> Iterator[Finding]:
    """What cannot be trained again without validation rows."""
    parameters, trial = document.get("parameters"), document.get("trial")
    if (why := _cannot_be_trained_again(document)) is not None:
        yield Finding(("refit",), why, "leave it out")
        return
    schedules = [name_of(trial.get("schedule")) if isinstance(trial, dict) else None]
    knob = parameters.get("schedule.name") if isinstance(parameters, dict) else None
    if isinstance(knob, dict):
        values = knob.get("values")
        chosen = values if isinstance(values, list) else [knob.get("value")]
        schedules = [*chosen, *(schedules if "when" in knob else ())]
    if "plateau" in schedules:
        yield Finding(("refit",), "has no validation rows for the schedule plateau to look at", "take another schedule")


def _cannot_be_trained_again(document: dict[str, Any]) -> str | None:
    trial = document.get("trial")
    if isinstance(trial, dict) and trial.get("kind", "train") != "train":
        return "is for trials of our training; these run code of their own"
    if name_of(document.get("sampler")) == "pbt":
        return "cannot train the members of a population again: their schedules are no trial's parameters"
    if isinstance(document.get("objective"), list):
        return "wants a best trial, and there is none by several objectives"
    return None
