"""Study configurations of Vizier: Vertex AI's StudySpec, alone or inside a Study or a hyperparameter tuning job.

Keys may be written as in JSON (`doubleValueSpec`) or as in protocol buffers (`double_value_spec`); whole numbers come
as text, as JSON has no 64-bit integers.
"""

from __future__ import annotations

import re
from typing import Any

from trialyard.importing.branches import Branches, When
from trialyard.importing.foreign import Draft, Section, as_number
from trialyard.importing.ranges import floats, integers

_SAMPLERS = {
    "ALGORITHM_UNSPECIFIED": None,
    "DEFAULT": None,
    "GRID_SEARCH": "grid",
    "RANDOM_SEARCH": "random",
    "QUASI_RANDOM_SEARCH": "qmc",
    "GAUSSIAN_PROCESS_BANDIT": "gp",
    "CMA_ES": "cmaes",
    "NSGA2": "nsga2",
}
_GOALS = {"MAXIMIZE": "maximize", "MINIMIZE": "minimize"}
_STOPPINGS = ("decayCurveStoppingSpec", "convexAutomatedStoppingSpec", "convexStopConfig")
_SCALES = ("SCALE_TYPE_UNSPECIFIED", "UNIT_LINEAR_SCALE", None)
_PARENTS = ("parentDiscreteValues", "parentIntValues", "parentCategoricalValues")


def read(file: Section) -> Draft:
    """The study that a configuration describes."""
    file = Section(_camel({name: file.take(name) for name in file.names()}), file.path, file.findings)
    draft = Draft()
    if "studySpec" in file:
        spec = file.section("studySpec")
        draft.name = file.text("displayName")
        for theirs, ours in (
            ("maxTrialCount", "trials"),
            ("parallelTrialCount", "parallel"),
            ("maxFailedTrialCount", "max_failed"),
        ):
            if number := file.whole(theirs):
                draft.budget[ours] = number
        file.leave(("name", "state", "createTime", "trialJobSpec", "labels"), "`trial` says here what runs")
        file.close()
    else:
        spec = file
    _read_spec(spec, draft)
    return draft


def _read_spec(spec: Section, draft: Draft) -> None:
    for metric in spec.sections("metrics"):
        name, goal = metric.text("metricId"), metric.text("goal")
        metric.close("cannot be carried over")
        if name and goal in _GOALS:
            draft.objectives.append({"metric": name, "direction": _GOALS[goal]})
        else:
            metric.wrong("", "needs a metricId, and a goal that is MAXIMIZE or MINIMIZE")
    algorithm = spec.text("algorithm") or "ALGORITHM_UNSPECIFIED"
    if algorithm not in _SAMPLERS:
        spec.wrong("algorithm", f"{algorithm!r} cannot be carried over", f"those that can: {', '.join(_SAMPLERS)}")
    elif (name := _SAMPLERS[algorithm]) is not None:
        draft.sampler = {"name": name}
    if "medianAutomatedStoppingSpec" in spec:
        draft.pruner = _read_median(spec.section("medianAutomatedStoppingSpec"))
    for key in _STOPPINGS:
        if spec.take(key) is not None:
            spec.wrong(key, "is a rule that no pruner here has", "take it out, or choose a pruner such as asha")
    spec.leave(
        ("observationNoise", "measurementSelectionType"), "samplers here take every value as noisy, the last one counts"
    )
    branches = Branches()
    for entry in spec.sections("parameters"):
        _read_parameter(entry, {}, branches)
    draft.parameters = branches.parameters()
    spec.close()


def _read_median(stopping: Section) -> dict[str, Any]:
    if stopping.take("useElapsedDuration"):
        stopping.wrong("useElapsedDuration", "compares by time, and pruners here compare by steps", "report steps")
    stopping.close()
    return {"name": "median"}


def _read_parameter(entry: Section, when: When, branches: Branches) -> None:
    """Add a parameter and those below it; Vizier may define the same one under several values of its parent."""
    name = entry.text("parameterId")
    if not name:
        entry.wrong("parameterId", "is missing")
        return
    children = entry.sections("conditionalParameterSpecs")
    read = _read_values(entry)
    entry.close()
    if read is not None:
        branches.add(entry, "parameterId", name, read, when)
    for child in children:
        values = _parent_values(child)
        _read_parameter(child.section("parameterSpec"), {**when, name: values}, branches)
        child.close()


def _read_values(entry: Section) -> dict[str, Any] | None:
    scale = entry.text("scaleType")
    if scale == "UNIT_REVERSE_LOG_SCALE":
        entry.wrong(
            "scaleType", "is a scale that ranges here do not have", "search over the distance from the upper bound"
        )
        return None
    log = scale == "UNIT_LOG_SCALE"
    if not log and scale not in _SCALES:
        entry.wrong("scaleType", f"{scale!r} is no scale")
    for key in ("doubleValueSpec", "integerValueSpec", "discreteValueSpec", "categoricalValueSpec"):
        if key in entry:
            spec = entry.section(key)
            spec.leave(("defaultValue",), "a point that is to be tried first stands under `enqueue`")
            if log and key in ("discreteValueSpec", "categoricalValueSpec"):
                why = "the values of a list are proposed as such, on no scale"
                spec.findings.notes.append(f"{entry.at('scaleType')} is not carried over: {why}")
            read = _read_value_spec(spec, key, log)
            spec.close()
            return read
    entry.wrong("", "has none of doubleValueSpec, integerValueSpec, discreteValueSpec, categoricalValueSpec")
    return None


def _read_value_spec(spec: Section, key: str, log: bool) -> dict[str, Any] | None:
    if key == "categoricalValueSpec":
        return {"values": spec.choices("values")}
    if key == "discreteValueSpec":
        return {"values": _numbers(spec, spec.choices("values"))}
    low, high = spec.number("minValue", 0), spec.number("maxValue", 0)  # protocol buffers leave out zeros
    return floats(spec, low, high, log) if key == "doubleValueSpec" else integers(spec, low, high, log=log)


def _parent_values(child: Section) -> list[Any]:
    for key in _PARENTS:
        if key in child:
            condition = child.section(key)
            values = condition.values("values")
            return values if key == "parentCategoricalValues" else _numbers(condition, values)
    child.wrong("", f"has none of {', '.join(_PARENTS)}")
    return []


def _numbers(section: Section, values: list[Any]) -> list[float]:
    numbers = [as_number(value) for value in values]
    if None in numbers:
        section.wrong("values", "must be numbers")
    return [number for number in numbers if number is not None]


def _camel(value: Any) -> Any:
    """Keys as JSON writes them."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): _camel(item) for key, item in value.items()}
