"""What a script that Hydra configures may be told: the values of its config files, with their defaults lists."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from trialyard.errors import BadInput
from trialyard.script_options import Option, constant


def hydra_options(tree: ast.Module, file: Path) -> tuple[Option, ...]:
    """Each value by its dotted name; none where Hydra does not configure the script from files.

    Raises:
        BadInput: a config file cannot be read.
    """
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "hydra.main":
            given = {each.arg: constant(each.value) for each in call.keywords}
            folder, name = given.get("config_path"), given.get("config_name")
            if isinstance(folder, str) and isinstance(name, str):
                found = _composed(file.absolute().parent / folder, Path(name))
                return tuple(_option(path, value) for path, value in _leaves(found))
    return ()


def _composed(folder: Path, name: Path) -> dict[str, Any]:
    """A config over those that its defaults list names, as Hydra puts them together; what is no plain entry of such a
    list is left out.

    Raises:
        BadInput: one of the files cannot be read.
    """
    document = _read(folder / name.with_name(f"{name.name.removesuffix('.yaml')}.yaml"))
    found: dict[str, Any] = {}
    for group, option in _choices(document.pop("defaults", None) or []):
        part = _composed(folder, name.parent / group / option)
        _merge(found, _nested(group.strip("/").split("/"), part) if group else part)
    _merge(found, document)
    return found


def _choices(defaults: list[Any]) -> Iterator[tuple[str, str]]:
    """Of a defaults list the groups with their options. The file's own values count, wherever `_self_` stands."""
    for entry in defaults:
        plain: dict[Any, Any] = entry if isinstance(entry, dict) else {"": entry}
        for group, option in plain.items():
            if isinstance(option, str) and option != "_self_" and not {" ", "@"} & set(group):
                yield group, option


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{file}: cannot be read as a config of Hydra: {error}") from error
    return document if isinstance(document, dict) else {}


def _nested(path: list[str], value: dict[str, Any]) -> dict[str, Any]:
    return {path[0]: _nested(path[1:], value)} if path else value


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _leaves(document: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{key}.")
        elif not str(key).startswith("_") and not before.startswith("hydra."):
            yield f"{before}{key}", value


def _option(path: str, value: Any) -> Option:
    if isinstance(value, bool):
        return Option(path, value, (True, False))
    if isinstance(value, str) and (number := _number(value)) is not None:
        return Option(path, number)  # 1e-3, which YAML 1.1 takes for a text, and Hydra does not
    return Option(path, None if isinstance(value, str) and "${" in value else value, is_required=value == "???")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
