"""What is wrong with a document, found in any order and told in the document's."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from search.suggestions import closest, nearest, printable
from store.errors import Problem

Location = tuple[str | int, ...]

MOST_PROBLEMS = 100
WANTS_WHOLE = "must be a whole number"


@dataclass(frozen=True)
class Finding:
    """A problem at a place of the document that is not yet written as a path."""

    at: Location
    message: str
    hint: str = ""


def problems(findings: Iterable[Finding], document: object) -> list[Problem]:
    """Findings by their position in the document, at most a hundred; of several at one place only the first found."""
    first: dict[Location, Finding] = {}
    for finding in findings:
        first.setdefault(finding.at, finding)
    ordered = sorted(first.values(), key=lambda finding: _position(finding.at, document))
    told = [Problem(path_of(finding.at), finding.message, finding.hint) for finding in ordered[:MOST_PROBLEMS]]
    if len(ordered) > MOST_PROBLEMS:
        told.append(Problem("study", f"has {len(ordered) - MOST_PROBLEMS} more problems", "mend these first"))
    return told


def path_of(location: Location) -> str:
    """`parameters.model.hidden.values[2]`; `study` for the document itself."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{printable(step)}"
    return path.removeprefix(".") or "study"


def shown(value: object) -> str:
    """A value of the document as it may stand in a sentence."""
    if not isinstance(value, str | int | float | bool | list | dict | None):
        return type(value).__name__
    text = json.dumps(value, ensure_ascii=False)
    text = text if text.isprintable() else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def of_model(
    error: ValidationError,
    model: type[BaseModel],
    at: Location = (),
    below: Collection[str] = (),
    missing: Mapping[str, str] | None = None,
) -> list[Finding]:
    """What pydantic found wrong, in sentences.

    Args:
        model: what was validated; its field names are the known keys.
        at: where the validated part stands in the document.
        below: dotted names of keys that the model does not know of, for whoever wrote one of them a level too high.
        missing: hints for what is missing, by its path; a study's if left out.
    """
    told = error.errors(include_url=False)[:MOST_PROBLEMS]
    return [_finding(dict(each), model, at, below, _MISSING if missing is None else missing) for each in told]


def of_text(error: Mapping[str, Any]) -> tuple[str, str]:
    """The message and hint for a value of an address or a header, where all is text, from pydantic's error."""
    kind, value, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "missing":
        part, name = error["loc"]
        return "is missing", f"say it in the address, as in ?{name}=…" if part == "query" else ""
    if kind in ("literal_error", "enum"):
        known = re.findall(r"'([^']*)'", context["expected"])
        return _no_such_name(str(value), known)
    if kind == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        message, hint = _PATTERNS[context["pattern"]]
        return f"{shown(value)} {message}", hint
    if isinstance(value, str) and kind in _BOUNDS:
        value = json.loads(value) if _is_number(value) else value
    return _sentence(kind.replace("_parsing", "_type"), value, context, error["msg"])


def _finding(
    error: dict[str, Any], model: type[BaseModel], at: Location, below: Collection[str], missing: Mapping[str, str]
) -> Finding:
    location: Location = tuple(step for step in error["loc"] if step != "[key]")  # of a mapping's keys themselves
    place = at + _without_tags(location, model)
    kind, value, context = error["type"], error.get("input"), error.get("ctx", {})
    match kind:
        case "missing":
            key = path_of(tuple(step for step in place if isinstance(step, str)))
            return Finding(place, "is missing", missing.get(key, ""))
        case "extra_forbidden":
            section = _annotation(model, location[:-1])
            elsewhere = [*_keys_below(section), *(below if len(location) == 1 else ())]
            return Finding(place, "is no key that is known here", nearest(location[-1], _keys(section), elsewhere))
        case "literal_error":
            known = [_option(option) for option in _options(_annotation(model, location))]
            return Finding(place, f"{shown(value)} is none of {', '.join(known)}", _did_you_mean(value, known))
        case "union_tag_invalid":
            known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
            return Finding((*place, "name"), *_no_such_name(str(context["tag"]), known))
        case "union_tag_not_found":
            hint = f"as in {place[-1]}: {{name: {'tpe' if place[-1] == 'sampler' else 'hyperband'}}}"
            return Finding((*place, "name"), "is missing", hint)
        case "value_error":
            return _raised(place, str(context["error"]))
        case "string_pattern_mismatch":
            message, hint = _PATTERNS.get(context["pattern"], (f"does not match {context['pattern']}", ""))
            return Finding(place, f"{shown(value)} {message}", hint)
    return Finding(place, *_sentence(kind, value, context, error["msg"]))


def _sentence(kind: str, value: object, context: dict[str, Any], otherwise: str) -> tuple[str, str]:
    """The message and hint for a value of the wrong type or size."""
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}, not {shown(value)}", _as_written(kind, value)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"must {words} {shown(context[key])}, and is {shown(value)}", ""
    if kind in _LENGTHS:
        words, key, one, more = _LENGTHS[kind]
        return f"must have {words} {context[key]} {one if context[key] == 1 else more}", ""
    return otherwise[:1].lower() + otherwise[1:], ""


_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}

_BOUNDS = {
    "greater_than": ("be greater than", "gt"),
    "greater_than_equal": ("be at least", "ge"),
    "less_than": ("be less than", "lt"),
    "less_than_equal": ("be at most", "le"),
}

_LENGTHS = {
    "string_too_short": ("at least", "min_length", "character", "characters"),
    "string_too_long": ("at most", "max_length", "character", "characters"),
    "too_short": ("at least", "min_length", "entry", "entries"),
    "too_long": ("at most", "max_length", "entry", "entries"),
}

_MISSING = {
    "name": "as in name: my-first-study",
    "objective": "as in objective: {metric: val/accuracy, direction: maximize}",
    "objective.metric": "name the metric to search by, as in metric: val/loss",
    "objective.direction": "minimize or maximize",
    "parameters": "as in parameters: {optimizer.lr: {low: 1.0e-4, high: 0.1, log: true}}",
    "budget": "say how many trials to run, as in budget: {trials: 60}",
    "budget.trials": "say how many trials to run, as in trials: 60",
    "trial": 'say what a trial is, as in trial: {kind: train, data: {source: "sklearn:digits"}}',
    "trial.data": 'say what to train on, as in data: {source: "sklearn:digits"}',
    "trial.data.source": 'say what to train on, as in source: "sklearn:digits"',
    "pruner.percentile": "say how many per cent go on, as in percentile: 25.0",
    "pruner.patience": "say how many steps without improvement to bear, as in patience: 3",
    "pruner.wrapped.percentile": "say how many per cent go on, as in percentile: 25.0",
    "pruner.wrapped.max_resource": "name the last step that a trial reports, as in max_resource: 27",
    "pruner.max_resource": "name the last step that a trial reports, as in max_resource: 27",
    "trial.name": "name an objective that the workers have registered",
}

_PATTERNS = {
    r"^[a-z0-9-]{1,64}$": ("is no name", "use 1 to 64 lower-case letters, digits and hyphens, as in adult-mlp"),
    r"^[a-z0-9_.-]{1,64}$": ("is no name", "use 1 to 64 lower-case letters, digits, hyphens, underscores and dots"),
    r"^[a-z0-9][a-z0-9._-]{0,63}$": (
        "is no name",
        "use 1 to 64 lower-case letters, digits, dots, underscores and hyphens, and begin with a letter or digit",
    ),
    r"^[\w/.-]{1,128}$": ("is no metric", "use 1 to 128 letters, digits, slashes, dots, hyphens and underscores"),
    r"^(train|val)/[a-z0-9_]+$": ("is no metric that can be watched", "take one of train/… or val/…, as in val/loss"),
    r"^((hf|file):[^\x00-\x1f]{1,1024}|trial:[a-z0-9-]{1,64}/[0-9]{1,9})$": (
        "names no model",
        "begin with hf:, file: or trial:, as in hf:all-MiniLM-L6-v2 or trial:digits-cnn/12",
    ),
    r"^(sklearn|file|dataset|synthetic):[^\x00-\x1f]{1,1024}$": (
        "names no data",
        "begin with sklearn:, file:, dataset: or synthetic:, as in sklearn:digits",
    ),
}


def _no_such_name(name: str, known: list[str]) -> tuple[str, str]:
    return f"{shown(name)} is none of {', '.join(known)}", _did_you_mean(name, known)


def _did_you_mean(value: object, known: list[str]) -> str:
    return nearest(value, known) if isinstance(value, str) and closest(value, known) else ""


def _as_written(kind: str, value: object) -> str:
    """How the same value would be right, where it is only written wrongly."""
    if kind.startswith("int") and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if kind == "model_attributes_type" and isinstance(value, str):
        return f"write {{name: {printable(value)}}}"
    if kind == "bool_type" and str(value).lower() in ("yes", "on", "no", "off", "true", "false"):
        return f"write {'true' if str(value).lower() in ('yes', 'on', 'true') else 'false'}"
    if kind in ("int_type", "float_type") and isinstance(value, str):
        return "write it without quotes" if _is_number(value) else ""
    if kind == "list_type" and isinstance(value, str | int | float):
        return f"write [{shown(value)}]"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _raised(place: Location, text: str) -> Finding:
    """What a validator says: `what is wrong; what would be right`, perhaps after the path that it is about, as in
    `section.key: …`.
    """
    path, separator, rest = text.partition(": ")
    if separator and " " not in path and "." in path:
        place, text = place + tuple(path.split(".")), rest
    message, _, hint = text.partition("; ")
    return Finding(place, message, hint)


def _keys(section: Any) -> list[str]:
    return [field.alias or name for name, field in _fields(section).items()]


def _keys_below(section: Any) -> Iterator[str]:
    """The keys of a section's own sections, as in `budget.trials`; where it may be one of several, of all of them."""
    for name, field in _fields(section).items():
        kind = _bare(field.annotation)
        kinds = map(_bare, get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else [kind]
        yield from dict.fromkeys(f"{field.alias or name}.{key}" for each in kinds for key in _keys(each))


def _fields(section: Any) -> dict[str, FieldInfo]:
    return section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}


def _annotation(model: type[BaseModel], location: Location) -> Any:
    """The type that stands at a place: of a model's field, of a list's item, of a tagged union's member."""
    kind: Any = model
    for step in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field: FieldInfo | None = kind.model_fields.get(str(step))
            kind = _bare(field.annotation) if field else None
        elif get_origin(kind) in (Union, types.UnionType):
            kind = next((each for each in map(_bare, get_args(kind)) if _tag(each) == step), None)
        else:
            kind = _bare(next(iter(get_args(kind)), None))
    return kind


def _bare(annotation: Any) -> Any:
    """A type without its `Annotated`, and without the `None` that it may also be."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        others = [each for each in get_args(annotation) if each is not type(None)]
        return _bare(others[0]) if len(others) == 1 else annotation
    return annotation


def _option(option: Any) -> str:
    """As the document has it."""
    return str(option).lower() if isinstance(option, bool) else str(option)


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)


def _tag(kind: Any) -> str | None:
    """The name by which a member of a tagged union goes."""
    field = kind.model_fields.get("name") if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return str(get_args(field.annotation)[0]) if field else None


def _without_tags(location: Location, model: type[BaseModel]) -> Location:
    """A place as the document has it: pydantic puts the tag of a union's member among the keys."""
    return tuple(
        step
        for depth, step in enumerate(location)
        if get_origin(_annotation(model, location[:depth])) not in (Union, types.UnionType)
    )


def _position(location: Location, document: object) -> tuple[int, ...]:
    """Where a place stands in the document; what is missing comes last in its section."""
    place = []
    for step in location:
        if isinstance(document, dict):
            place.append(list(document).index(step) if step in document else len(document))
            document = document.get(step)
        elif isinstance(document, list) and isinstance(step, int) and step < len(document):
            place.append(step)
            document = document[step]
        else:
            break
    return tuple(place)
