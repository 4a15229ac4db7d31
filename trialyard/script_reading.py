"""What a Python script says of itself without being run: the options that it parses, and the metrics that it prints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialyard.errors import BadInput
from trialyard.script_lines import Line, printed_lines


@dataclass(frozen=True)
class Option:
    """An option of argparse. `default` is None where the script says none, or one that is no constant."""

    flag: str
    default: Any = None
    choices: tuple[Any, ...] = ()
    is_switch: bool = False
    is_required: bool = False

    @property
    def name(self) -> str:
        return self.flag.lstrip("-")


@dataclass(frozen=True)
class Script:
    options: tuple[Option, ...]
    line: Line | None


def read_script(file: Path) -> Script:
    """Raises: BadInput: it is no Python, cannot be read, or parses no options with argparse."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise BadInput(f"{file}: cannot be read as Python: {error}") from error
    options = tuple(_options(tree))
    if not options:
        raise BadInput(
            f"{file}: parses no options with argparse that could be searched; how any script is tuned is told in "
            "docs/how-to/tune-your-own-script.md"
        )
    # The one with the most metrics; what is said before a step begins, or of a batch, has fewer.
    lines = sorted(printed_lines(tree), key=lambda line: (line.has_step, len(line.metrics)))
    return Script(options, lines[-1] if lines else None)


def _options(tree: ast.Module) -> Iterator[Option]:
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            flags = [flag for each in call.args if isinstance(flag := _constant(each), str) and flag.startswith("--")]
            if flags:
                yield _option(flags[0], {each.arg: each.value for each in call.keywords if each.arg})


def _option(flag: str, given: dict[str, ast.expr]) -> Option:
    action = _constant(given["action"]) if "action" in given else None
    choices = _constant(given["choices"]) if "choices" in given else None
    default = _constant(given["default"]) if "default" in given else None
    kind = given.get("type")
    if isinstance(kind, ast.Name) and kind.id == "float" and type(default) is int:
        default = float(default)
    return Option(
        flag,
        default,
        tuple(choices) if isinstance(choices, list | tuple) else (),
        is_switch=action == "store_true",
        is_required=bool("required" in given and _constant(given["required"])),
    )


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
