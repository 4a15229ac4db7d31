"""Reads study files, and writes values into them: YAML by the core schema of YAML 1.2, or JSON.

PyYAML follows YAML 1.1, in which `1e-4` is text, `no` is false, `012` is ten and `1:30` is ninety. Here they are a
number, text, twelve and text, as in every newer reader, and a key that stands twice is an error.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

MOST_CHARACTERS = 1_000_000
MOST_VALUES = 1_000_000  # after aliases have been unfolded: no text without them has as many
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./:-]*(?<!:)\Z")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off")


class StudyFileError(ValueError):
    """The text is no document of keys and values; the message names the line."""


def from_yaml(text: str) -> dict[str, Any]:
    """The document that a study file holds, not looked at any further.

    Raises:
        StudyFileError: the text is neither YAML nor JSON, a key stands twice, or it is no mapping.
    """
    if len(text) > MOST_CHARACTERS:
        raise StudyFileError(f"the file has {len(text):,} characters; a study may have {MOST_CHARACTERS:,}")
    document = _read(text)
    if not isinstance(document, dict):
        what = "is empty" if document is None else "holds no keys and values"
        raise StudyFileError(f"line 1: the file {what}; it begins like `name: my-first-study`")
    try:
        unfolded: dict[str, Any] = _unfolded(document, itertools.count(), [])
    except RecursionError:
        raise StudyFileError("the file is nested too deeply") from None
    return unfolded


def as_yaml(value: Any) -> str:
    """A value in one line, as readers of YAML 1.1 and of 1.2 understand it alike.

    That is JSON, but for text that needs no quotes, and floats: `1e-05` has no dot, and is text by YAML 1.1.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_yaml(key)}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not value.isprintable())
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


def _read(text: str) -> object:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_distinct)
        except (ValueError, RecursionError):
            pass  # braces may be YAML too, and its reader names the line
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer tags
    except yaml.MarkedYAMLError as error:
        raise StudyFileError(_sentence(error)) from error
    except yaml.YAMLError as error:
        raise StudyFileError(f"the file is no text that YAML allows: {error}") from error
    except RecursionError:
        raise StudyFileError("the file is nested too deeply") from None


def _unfolded(value: Any, count: Iterator[int], inside: list[int]) -> Any:
    """A copy in which each alias is a value of its own, as in a text that spells it out.

    Args:
        count: of the values so far.
        inside: which lists and mappings this one lies in, by their identity.
    """
    if next(count) >= MOST_VALUES:
        raise StudyFileError(f"its aliases stand for more than {MOST_VALUES:,} values")
    if not isinstance(value, dict | list):
        return value
    if id(value) in inside:
        raise StudyFileError("an alias stands inside of what it names; a study cannot hold itself")
    inside.append(id(value))
    copy = (
        [_unfolded(each, count, inside) for each in value]
        if isinstance(value, list)
        else {key: _unfolded(each, count, inside) for key, each in value.items()}
    )
    inside.pop()
    return copy


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"the key {key!r} stands twice")
        document[key] = value
    return document


def _sentence(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = ", ".join(filter(None, (error.context, error.problem))) or "the text is no YAML"
    if "'\\t'" in problem:
        problem = "a tab; indent with spaces"
    return where + problem


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    try:
        return int(loader.construct_scalar(node))
    except ValueError:
        raise yaml.MarkedYAMLError(problem="a number with too many digits", problem_mark=node.start_mark) from None


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _unknown(_loader: yaml.SafeLoader, node: yaml.Node) -> None:
    problem = f"the tag {node.tag!r} is not known; a study holds text, numbers, true, false, null, lists and mappings"
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


_CORE = "tag:yaml.org,2002"
_SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class _Loader(yaml.SafeLoader):
    """Scalars by the core schema, distinct text keys, plain values only."""

    # PyYAML's own protocol: None stands for any first character, and for any tag that is not named.
    yaml_implicit_resolvers = {  # noqa: RUF012
        None: [(f"{_CORE}:{tag}", re.compile(rf"(?:{text})\Z")) for tag, text in _SCALARS.items()]
    }
    yaml_constructors = {  # noqa: RUF012
        f"{_CORE}:null": yaml.SafeLoader.construct_yaml_null,
        f"{_CORE}:bool": yaml.SafeLoader.construct_yaml_bool,
        f"{_CORE}:str": yaml.SafeLoader.construct_yaml_str,
        f"{_CORE}:seq": yaml.SafeLoader.construct_yaml_seq,
        f"{_CORE}:map": yaml.SafeLoader.construct_yaml_map,
        f"{_CORE}:int": _integer,
        f"{_CORE}:float": _float,
        None: _unknown,
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        document: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is no text; put it in quotes", problem_mark=key_node.start_mark
                )
            if key in document:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice; take one of them out", problem_mark=key_node.start_mark
                )
            document[key] = self.construct_object(value_node, deep=deep)
        return document


class Dumper(yaml.SafeDumper):
    """Blocks that readers of YAML 1.1 and of 1.2 understand alike: text that is a number to either stands in quotes."""


Dumper.add_implicit_resolver(f"{_CORE}:float", re.compile(rf"(?:{_SCALARS['float']})\Z"), None)
