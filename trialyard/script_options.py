"""The options that a Python script parses, as far as they can be told without running it: by argparse, by click, and by
Hugging Face's HfArgumentParser from dataclasses."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """`default` is None where the script says none, or one that is no constant."""

    flag: str
    default: Any = None
    choices: tuple[Any, ...] = ()
    is_switch: bool = False
    is_required: bool = False
    is_positional: bool = False  # an argument that has its place and no name

    @property
    def name(self) -> str:
        return self.flag.lstrip("-")


# Of transformers.TrainingArguments those that are searched most, with its defaults; a decay of 0 would tell no range.
TRAINING_ARGUMENTS = (
    Option("--learning_rate", 5e-5),
    Option("--weight_decay", 0.01),
    Option("--per_device_train_batch_size", 8),
    Option("--num_train_epochs", 3),
)


def options_of(tree: ast.Module) -> Iterator[Option]:
    for call in _calls(tree):
        match call.func:
            case ast.Attribute(attr="add_argument") | ast.Attribute(attr="option"):
                yield from _declared(call)
            case ast.Name(id="HfArgumentParser") | ast.Attribute(attr="HfArgumentParser"):
                for name in _classes_given(call):
                    yield from _fields(tree, name)


def parses_training_arguments(tree: ast.Module) -> bool:
    """Whether the options are, among others, those of transformers.TrainingArguments."""
    calls = [call for call in _calls(tree) if _last_name(call.func) == "HfArgumentParser"]
    return any(_is_of_transformers(tree, name) for call in calls for name in _classes_given(call))


def constant(node: ast.expr | None) -> Any:
    """Its value; None where it has to be computed."""
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _declared(call: ast.Call) -> Iterator[Option]:
    """`add_argument("--lr", …)` of argparse, `@click.option("--lr", …)` of click."""
    names = [name for each in call.args if isinstance(name := constant(each), str)]
    flags = [name for name in names if name.startswith("--")]
    given = {each.arg: each.value for each in call.keywords if each.arg}
    if not flags:
        if _last_name(call.func) == "add_argument" and names and not names[0].startswith("-"):
            yield Option(names[0], is_required=constant(given.get("nargs")) not in ("?", "*"), is_positional=True)
        return
    kind = given.get("type")
    default = constant(given.get("default"))
    if isinstance(kind, ast.Name) and kind.id == "float" and type(default) is int:
        default = float(default)
    flag, _, negated = flags[0].partition("/")
    choices = constant(given.get("choices")) or _choices_of_click(kind)
    yield Option(
        flag,
        default,
        tuple(choices) if isinstance(choices, list | tuple) else (),
        # Of what is on by default the command could not say that it shall be off.
        is_switch=_is_switch(given, negated) and not default,
        is_required=bool(constant(given.get("required"))),
    )


def _is_switch(given: dict[str, ast.expr], negated: str) -> bool:
    return constant(given.get("action")) == "store_true" or bool(negated or constant(given.get("is_flag")))


def _choices_of_click(kind: ast.expr | None) -> Any:
    return (
        constant(kind.args[0]) if isinstance(kind, ast.Call) and kind.args and _last_name(kind.func) == "Choice" else ()
    )


def _classes_given(call: ast.Call) -> list[str]:
    """Of `HfArgumentParser((ModelArguments, TrainingArguments))` the names."""
    first = next(iter([*call.args, *(each.value for each in call.keywords)]), None)
    nodes = first.elts if isinstance(first, ast.Tuple | ast.List) else [first]
    return [_last_name(node) for node in nodes if node is not None]


def _class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _is_of_transformers(tree: ast.Module, name: str) -> bool:
    if (found := _class(tree, name)) is None:
        return name.endswith("TrainingArguments")
    return any(_is_of_transformers(tree, _last_name(base)) for base in found.bases)


def _fields(tree: ast.Module, name: str) -> Iterator[Option]:
    """Those of a dataclass of the script; where it is or extends transformers' own, some of that one's."""
    if (found := _class(tree, name)) is None:
        yield from TRAINING_ARGUMENTS if name.endswith("TrainingArguments") else ()
        return
    for base in found.bases:
        yield from _fields(tree, _last_name(base))
    for field in found.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield _field(field.target.id, ast.unparse(field.annotation), field.value)


def _field(name: str, kind: str, value: ast.expr | None) -> Option:
    is_required = value is None
    if isinstance(value, ast.Call):  # field(default=…, metadata=…)
        given = {each.arg: each.value for each in value.keywords}
        is_required = not {"default", "default_factory"} & given.keys()
        value = given.get("default")
    default = constant(value)
    if kind == "bool":
        return Option(f"--{name}", default, (True, False))
    default = float(default) if kind == "float" and type(default) is int else default
    return Option(f"--{name}", default, is_required=is_required)
