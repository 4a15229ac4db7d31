"""Experiments of Katib (Kubernetes resources of kind Experiment, YAML). Its numbers are strings."""

from __future__ import annotations

from typing import Any

from trialyard.importing.foreign import Draft, Section, as_number
from trialyard.importing.ranges import BOUNDS_HINT, NO_BOUNDS, floats, integers, steps

_SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "grid": {"name": "grid"},
    "tpe": {"name": "tpe", "multivariate": False},
    "multivariate-tpe": {"name": "tpe", "multivariate": True},
    "bayesianoptimization": {"name": "tpe"},
    "cmaes": {"name": "cmaes"},
    "sobol": {"name": "qmc"},
}
_SETTINGS = {
    "random_state": "seed",
    "n_startup_trials": "n_startup_trials",
    "n_ei_candidates": "n_ei_candidates",
    "n_EI_candidates": "n_ei_candidates",  # of the other service that Katib may run tpe by
}
_RUNS_ELSEWHERE = ("trialTemplate", "metricsCollectorSpec", "resumePolicy")


def read(file: Section) -> Draft:
    """The study that an Experiment describes."""
    file.leave(("apiVersion", "status"), "it belongs to Kubernetes")
    if (kind := file.text("kind")) not in (None, "Experiment"):
        file.wrong("kind", f"{kind!r} is no Experiment")
    draft = Draft()
    if "metadata" in file:
        metadata = file.section("metadata")
        draft.name = metadata.text("name")
        metadata.leave(metadata.names(), "it belongs to Kubernetes")
    spec = file.section("spec")
    file.close()
    spec.leave(_RUNS_ELSEWHERE, "`trial` says here what runs, and how it reports")
    _read_objective(spec.section("objective"), draft)
    _read_algorithm(spec.section("algorithm"), draft)
    if "earlyStopping" in spec:
        _read_stopping(spec.section("earlyStopping"), draft)
    for theirs, ours in (
        ("maxTrialCount", "trials"),
        ("parallelTrialCount", "parallel"),
        ("maxFailedTrialCount", "max_failed"),
    ):
        if (number := spec.whole(theirs)) is not None:
            draft.budget[ours] = number
    for entry in spec.sections("parameters"):
        _read_parameter(entry, draft)
    spec.close()
    return draft


def _read_objective(objective: Section, draft: Draft) -> None:
    name, kind = objective.text("objectiveMetricName"), objective.text("type")
    if kind not in ("minimize", "maximize"):
        objective.wrong("type", f"{kind!r} is none of minimize, maximize")
    elif not name:
        objective.wrong("objectiveMetricName", "is missing")
    else:
        draft.objectives.append({"metric": name, "direction": kind})
    if (goal := objective.number("goal")) is not None:
        draft.budget["target"] = goal
    objective.leave(("additionalMetricNames",), "every metric that a trial reports is kept")
    objective.take("metricStrategies")
    note = "a trial counts here by the value that it ends with; Katib takes the best or the one that a strategy names"
    objective.findings.notes.append(note)
    objective.close()


def _read_algorithm(algorithm: Section, draft: Draft) -> None:
    name = algorithm.text("algorithmName")
    settings = _settings(algorithm)
    algorithm.close()
    if name not in _SAMPLERS:
        hint = f"those that can: {', '.join(_SAMPLERS)}"
        algorithm.wrong("algorithmName", f"{name!r} cannot be carried over", hint)
        return
    if name == "bayesianoptimization":
        algorithm.findings.notes.append("bayesianoptimization has become tpe, which models the objective by densities")
    draft.sampler = dict(_SAMPLERS[name])
    for setting, value in settings.items():
        known = _SETTINGS.get(setting)
        number = as_number(value)
        if known is None or (known != "seed" and draft.sampler["name"] != "tpe") or not isinstance(number, int):
            algorithm.wrong(
                f"algorithmSettings.{setting}", f"with the value {value!r} cannot be carried over", "take it out"
            )
        else:
            draft.sampler[known] = number


def _read_stopping(stopping: Section, draft: Draft) -> None:
    """The median rule. Katib compares with the median of running averages, we with that of the step itself."""
    name, settings = stopping.text("algorithmName"), _settings(stopping)
    stopping.close()
    if name != "medianstop":
        stopping.wrong("algorithmName", f"{name!r} cannot be carried over", "Katib has medianstop")
        return
    startup, first = as_number(settings.pop("min_trials_required", 3)), as_number(settings.pop("start_step", 4))
    for setting in settings:
        stopping.wrong(f"algorithmSettings.{setting}", "is no setting of medianstop")
    if not isinstance(startup, int) or not isinstance(first, int):
        stopping.wrong("algorithmSettings", "must be whole numbers")
        return
    draft.pruner = {"name": "median", "n_startup_trials": startup, "n_warmup_steps": first}
    stopping.findings.notes.append(
        "medianstop has become median, which compares at the step and not by running averages"
    )


def _settings(section: Section) -> dict[str, Any]:
    """The settings of an algorithm, a list of names and values."""
    settings = {}
    for item in section.sections("algorithmSettings"):
        settings[item.text("name") or ""] = item.take("value")
        item.close()
    return settings


def _read_parameter(entry: Section, draft: Draft) -> None:
    name, kind = entry.text("name"), entry.text("parameterType")
    space = entry.section("feasibleSpace")
    entry.close()
    if not name or name in draft.parameters:
        entry.wrong("name", f"{name!r} is there already" if name else "is missing")
        return
    read = _read_space(space, kind)
    if space.findings.problems == [] or read is not None:
        space.close()
    if read is not None:
        draft.parameters[name] = read


def _read_space(space: Section, kind: str | None) -> dict[str, Any] | None:
    distribution = space.text("distribution") or "uniform"
    if kind == "categorical":
        return {"values": space.choices("list")}
    if kind == "discrete":
        numbers = [(text, as_number(text)) for text in space.choices("list")]
        for text in (text for text, number in numbers if number is None):
            space.wrong("list", f"{text!r} is no number, as those of a discrete parameter are")
        return {"values": [number for _, number in numbers if number is not None]}
    if kind not in ("int", "double"):
        space.wrong("", f"is of the type {kind!r}, which is none of double, int, discrete, categorical")
        return None
    if distribution in ("normal", "logNormal"):
        space.wrong("distribution", f"{distribution} {NO_BOUNDS} there", BOUNDS_HINT)
        return None
    return _read_range(space, kind, distribution)


def _read_range(space: Section, kind: str, distribution: str) -> dict[str, Any] | None:
    low, high, step = space.number("min"), space.number("max"), space.number("step")
    if distribution not in ("uniform", "logUniform"):
        space.wrong("distribution", f"{distribution!r} cannot be carried over", BOUNDS_HINT)
        return None
    log = distribution == "logUniform"
    if log and step is not None and not (kind == "int" and step == 1):
        space.wrong("step", "cannot be had on a log scale", "leave out the step")
        return None
    if kind == "int":
        return integers(space, low, high, step, log)
    return floats(space, low, high, log) if step is None else steps(space, low, high, step)
