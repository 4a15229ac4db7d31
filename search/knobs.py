"""The section `trial`, and the parameters that turn its knobs: what the trainer would refuse is refused here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from search.acting import idle_parameters
from search.findings import WANTS_WHOLE, Finding, Location, of_model, shown
from search.layers import DEPTH, check_layers
from search.parameters import Choice, Parameter, Range
from search.suggestions import nearest
from trainer.config import (
    LAYERED,
    MOST_LAYERS,
    PINBALL,
    WITH_COMPRESSION,
    TrainConfig,
    fixed_paths,
    knob_paths,
    layer_of,
    metric_names,
)
from trainer.config.layered import Layer

Kind = Literal["train", "objective", "external"]

METRIC = r"^[\w/.-]{1,128}$"


class ObjectiveTrial(BaseModel):
    """A trial that runs a person's own code, which the workers know by this name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["objective"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,64}$")]
    options: dict[str, JsonValue] = {}


class ExternalTrial(BaseModel):
    """A trial that is handed out by `ask` and runs elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["external"]


_MODELS: dict[str, type[BaseModel]] = {"train": TrainConfig, "objective": ObjectiveTrial, "external": ExternalTrial}


def put_in(trial: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The trial section with parameters at their dotted paths; sections that are not there are made, and lists of those
    that name single layers.
    """
    result = dict(trial)
    lists = {layer.of for path in parameters if (layer := layer_of(path)) is not None}
    for path, value in parameters.items():
        *sections, leaf = path.split(".")
        section = result
        for name in sections:
            section[name] = dict(section.get(name) or {})
            section = section[name]
        section[leaf] = value
    for path in lists:
        of, key = path.split(".")
        layers = result[of][key]
        if all(str(place) in layers for place in range(len(layers))):
            result[of][key] = [layers[str(place)] for place in range(len(layers))]
    return result


def trial_keys() -> list[str]:
    """What may stand in a section of the built-in training, and in its sections, as dotted paths of the document."""
    paths = (*TrainConfig.model_fields, *knob_paths(), *fixed_paths())
    return [f"trial.{path}" for path in dict.fromkeys(paths)]


def knob_values(trial: Mapping[str, Any], parameters: Mapping[str, Parameter] | None = None) -> dict[str, Any]:
    """Every knob of a section of the built-in training with its value, by its dotted path.

    Args:
        parameters: of the study. The section may be valid with values of theirs only, in place of its own; those that
            it cannot do without have no value here.
    """
    lent = _lent(trial, parameters or {})
    config = TrainConfig.model_validate(put_in(trial, lent))
    return {name: value for name, value in _leaves(config.model_dump(mode="json"), "") if name not in lent}


def _lent(trial: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> dict[str, JsonValue]:
    """Parameters with a value without which the trainer refuses the section, as few as can be told one by one."""
    if not _refusals(TrainConfig, trial):
        return {}
    low = _low(parameters)
    rest = ((name, {other: value for other, value in low.items() if other != name}) for name in low)
    lent = {name: low[name] for name, others in rest if _refusals(TrainConfig, put_in(trial, others))}
    return low if _refusals(TrainConfig, put_in(trial, lent)) else lent


def _leaves(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_trial(trial: object, parameters: Mapping[str, Parameter]) -> list[Finding]:
    """What is wrong with the trial section itself, whatever the parameters are."""
    if not isinstance(trial, dict):
        return [Finding(("trial",), f"must be a mapping of keys to values, not {shown(trial)}")]
    kind = trial.get("kind", "train")
    if not isinstance(kind, str) or kind not in _MODELS:
        hint = nearest(kind, _MODELS) if isinstance(kind, str) else ""
        return [Finding(("trial", "kind"), f"{shown(kind)} is none of {', '.join(_MODELS)}", hint)]
    if kind != "train":
        return _refusals(_MODELS[kind], trial)
    return _refusals_of_all(trial, _searched(trial, parameters)) + _check_watched(trial)


def check_metric(metric: str, trial: Mapping[str, Any], at: Location) -> list[Finding]:
    """Whether the built-in training reports a metric that the search looks at; for other kinds any name will do."""
    if trial.get("kind", "train") != "train":
        return []
    known = sorted(metric_names(_task(trial)))
    if metric in WITH_COMPRESSION and trial.get("compression") is None:
        hint = "add it to trial, as in compression: {name: none}"
        return [Finding(at, f"{metric} is measured where there is a section compression", hint)]
    if metric in known:
        return _check_pinball(metric, trial, at)
    if metric.startswith("test/"):
        reason = "cannot be searched by: the test set is measured once, at the end, so that it stays unseen"
        validation = "val/" + metric.removeprefix("test/")
        return [Finding(at, f"{metric} {reason}", f"take {validation if validation in known else 'val/loss'}")]
    return [Finding(at, f"{shown(metric)} is reported by no training of this task", nearest(metric, known))]


def check_knobs(
    parameters: Mapping[str, Parameter], trial: Mapping[str, Any], section: Mapping[str, object]
) -> list[Finding]:
    """What is wrong with parameters as knobs of the built-in training.

    Args:
        parameters: those that could be read.
        section: all of the document's.
    """
    known = knob_paths()
    strange = {name for name in section if name not in known and layer_of(name) is None}
    findings = [_unknown(name, known) for name in section if name in strange]
    knobs = {name: parameter for name, parameter in parameters.items() if name not in strange}
    searched = _searched(trial, knobs)
    base = _refusals_of_all(trial, searched)
    for name, parameter in knobs.items():
        findings += _check_values(name, parameter, trial, searched, base)
    if all(each.when.keys() <= knobs.keys() for each in knobs.values()):
        findings += check_layers(knobs, trial)
    return findings + list(idle_parameters(knobs, trial, section))


def check_points(points: Iterable[Mapping[str, Any]], trial: Mapping[str, Any]) -> list[Finding]:
    """What the trainer refuses about several knobs at once, each of which is fine alone."""
    for point in points:
        refusals = _refusals(TrainConfig, put_in(trial, point))
        if refusals:
            chosen = ", ".join(f"{name} {shown(value)}" for name, value in point.items())
            return [Finding(("parameters",), f"the trainer refuses {chosen}: {refusals[0].message}", refusals[0].hint)]
    return []


def longest_training(parameters: Mapping[str, Parameter], trial: Mapping[str, Any]) -> int | None:
    """The most epochs that a trial may have; None unless the built-in training runs it."""
    if trial.get("kind", "train") != "train":
        return None
    searched = parameters.get("epochs")
    options = searched.extremes() if searched else (trial.get("epochs", TrainConfig.model_fields["epochs"].default),)
    whole = [each for each in options if isinstance(each, int) and not isinstance(each, bool)]
    return max(whole, default=None)


def _refusals(model: type[BaseModel], document: object) -> list[Finding]:
    try:
        model.model_validate(document, strict=True)
    except ValidationError as error:
        return of_model(error, model, ("trial",))
    return []


def _check_pinball(metric: str, trial: Mapping[str, Any], at: Location) -> list[Finding]:
    loss = trial.get("loss")
    if metric != PINBALL or (isinstance(loss, dict) and loss.get("name") == "quantile"):
        return []
    hint = "name it in trial, as in loss: {name: quantile, quantile: 0.9}"
    return [Finding(at, f"{metric} is measured where the loss is quantile", hint)]


def _task(trial: Mapping[str, Any]) -> Literal["auto", "classification", "regression"]:
    data = trial.get("data")
    task = data.get("task") if isinstance(data, dict) else None
    return task if task in ("classification", "regression") else "auto"


def _check_watched(trial: Mapping[str, Any]) -> list[Finding]:
    stopping = trial.get("early_stopping")
    metric = stopping.get("metric", "val/loss") if isinstance(stopping, dict) else "val/loss"
    known, at = sorted(metric_names(_task(trial))), ("trial", "early_stopping", "metric")
    if not isinstance(metric, str):
        return []
    if metric in known:
        return _check_pinball(metric, trial, at)
    return [Finding(at, f"{shown(metric)} is reported by no training of this task", nearest(metric, known))]


def _unknown(name: str, known: list[str]) -> Finding:
    at = ("parameters", name)
    below = [path for path in known if path.startswith(f"{name}.")]
    if below:
        return Finding(at, "is a section of the trial and no knob", f"its knobs are {', '.join(below)}")
    if name in fixed_paths():
        reason = "" if name.startswith("checkpoint.") else ": trials of other rows or kinds could not be compared"
        return Finding(at, f"cannot be searched{reason}", "set it below trial")
    of, _, place = name.rpartition(".")
    if of in LAYERED and place.isdecimal():
        return Finding(at, "there is no such layer", f"they are counted from 0 to {MOST_LAYERS - 1}, as in {of}.0")
    return Finding(at, "there is no such knob", nearest(name, known) or "`trialyard doctor knobs` lists all")


def _searched(trial: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> dict[str, Any] | None:
    """The trial with its parameters at their low ends, in place of what no trial of the study has; None if it cannot
    be put together.
    """
    try:
        return put_in(trial, _low(parameters))
    except (TypeError, ValueError, AttributeError):
        return None


def _low(parameters: Mapping[str, Parameter]) -> dict[str, JsonValue]:
    """The low ends of the parameters that take part in every trial, single layers left out."""
    always = {name: each for name, each in parameters.items() if not each.when and layer_of(name) is None}
    return {name: next(_probes(parameter)) for name, parameter in always.items()}


def _refusals_of_all(trial: Mapping[str, Any], searched: Mapping[str, Any] | None) -> list[Finding]:
    """What is refused of the trial section, and not for a value only that the parameters take the place of."""
    found = _refusals(TrainConfig, trial)
    if not found or searched is None:
        return found
    there = {(each.at, each.message) for each in _refusals(TrainConfig, searched)}
    return [each for each in found if (each.at, each.message) in there]


def _check_values(
    name: str,
    parameter: Parameter,
    trial: Mapping[str, Any],
    searched: Mapping[str, Any] | None,
    base: list[Finding],
) -> list[Finding]:
    """The values of one knob that the trainer refuses, at most three of them; not those that go with what the other
    parameters may be, of which `searched` has an instance.
    """
    findings: list[Finding] = []
    layer = layer_of(name)
    for value in _probes(parameter):
        try:
            tried = _with_layers(trial, layer, value) if layer else put_in(trial, {name: value})
        except (TypeError, ValueError, AttributeError):
            return []  # a section of the trial is no mapping, which is found there
        refusals = [each for each in _refusals(TrainConfig, tried) if each not in base]
        if refusals and searched and layer is None and not _refusals(TrainConfig, put_in(searched, {name: value})):
            continue
        refusals += _unwatched(tried, name)
        if refusals:
            message = f"{shown(value)} is refused: {refusals[0].message}"
            if isinstance(parameter, Range) and refusals[0].message.startswith(WANTS_WHOLE):
                return [Finding(("parameters", name), message, "write both bounds as whole numbers")]
            findings.append(Finding(("parameters", name), message, refusals[0].hint))
        if len(findings) == 3:
            break
    return _joined(findings)


def _with_layers(trial: Mapping[str, Any], layer: Layer, value: JsonValue) -> dict[str, Any]:
    """The trial with as many layers as one of them needs, all alike."""
    others = {key for key in LAYERED if key != layer.of}
    model = {key: each for key, each in dict(trial.get("model") or {}).items() if f"model.{key}" not in others}
    layers = layer.place + 1
    return put_in({**trial, "model": model}, {layer.of: [value] * layers, DEPTH: layers})


def _unwatched(trial: Mapping[str, Any], name: str) -> list[Finding]:
    return _check_watched(trial) if name == "early_stopping.metric" else []


def _joined(findings: list[Finding]) -> list[Finding]:
    """One finding for one knob."""
    if not findings:
        return []
    hints = [each.hint for each in findings if each.hint]
    return [Finding(findings[0].at, "; ".join(each.message for each in findings), hints[0] if hints else "")]


def _probes(parameter: Parameter) -> Iterator[JsonValue]:
    """Values that show whether the trainer takes them all: every choice; of a range its ends and one in between."""
    if isinstance(parameter, Choice):
        yield from parameter.values
        return
    yield from parameter.extremes()
    if isinstance(parameter, Range) and not parameter.whole:
        # A fraction that no bound has: a knob that wants whole numbers takes 32.0 and 64.0, but not what lies between.
        yield parameter.low + (parameter.high - parameter.low) * 0.381966 if parameter.size is None else parameter.at(1)
