"""What a Python script says of itself without being run: the options that it parses, and the metrics that it prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialyard.errors import BadInput

_SAYING = {"print", "info", "debug", "log", "write", "echo"}
_STEPS = {"epoch", "step", "iter", "iteration", "round", "it", "ep"}
_NAME = re.compile(r"((train|val|test|eval|dev)[a-z]* )?[A-Za-z_][\w/.-]*(?=\W*$)", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_WHOLE = r"\d+"
_NUMBER = r"[-+.\w]+"  # nan and 1e-05 too


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
class Line:
    """A line that the script prints again and again: a regular expression for it, and the metrics in it."""

    pattern: str
    metrics: tuple[str, ...]
    has_step: bool


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
    lines = sorted(_lines(tree), key=lambda line: (line.has_step, len(line.metrics)))
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


def _lines(tree: ast.Module) -> Iterator[Line]:
    """What is said in loops, as far as it has metrics."""
    loops = (node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While))
    for call in (node for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Call)):
        said = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        for argument in call.args:
            if said in _SAYING and isinstance(argument, ast.JoinedStr):
                yield from (line for parts in _printed_lines(argument) if (line := _line(parts)).metrics)


def _printed_lines(text: ast.JoinedStr) -> Iterator[list[str | ast.FormattedValue]]:
    """The texts and values of each line that it prints."""
    parts: list[str | ast.FormattedValue] = []
    for part in text.values:
        if isinstance(part, ast.FormattedValue):
            parts.append(part)
            continue
        first, *others = re.split(r"[\r\n]", str(getattr(part, "value", "")))
        parts.append(first)
        for other in others:
            yield parts
            parts = [other]
    yield parts


def _line(parts: list[str | ast.FormattedValue]) -> Line:
    """A metric is called by the word before its value, as in `f"loss {loss:.3f}"`."""
    pieces: list[str] = []
    found: list[str] = []
    before = ""
    for part in parts:
        if isinstance(part, str):
            before = _COLOUR.sub(" ", part)
            pieces.append(_literally(part))
            continue
        name = _name_of(part, before)
        group = "step" if name.lower() in _STEPS else _group(name)
        is_new = group.isidentifier() and group not in found
        value = rf"(?P<{group}>{_WHOLE if group == 'step' else _NUMBER})"
        pieces.append(_padding(part) + value if is_new else ".*?")
        found += [group] if is_new else []
        before = ""
    metrics = tuple(group.replace("__", "/") for group in found if group != "step")
    return Line("".join(pieces).strip(), metrics, has_step="step" in found)


def _literally(text: str) -> str:
    """An expression for a text, without what may not stand in a literal string of TOML."""
    plain = "".join(each if each.isprintable() and each != "'" else "\0" for each in text)
    return re.escape(plain).replace("\\ ", " ").replace("\\\0", ".").replace("\0", ".")


def _name_of(part: ast.FormattedValue, before: str) -> str:
    """The word before a value, with the rows that it is of (`val loss`), or the variable that it is; none for what only
    says how many there are, as in 3/10.
    """
    if re.search(r"(/|\bof)\s*$", before):
        return ""
    if word := _NAME.search(before):
        return word[0].strip("./-")
    value = part.value.left if isinstance(part.value, ast.BinOp) else part.value
    return value.id if isinstance(value, ast.Name) else ""


def _padding(part: ast.FormattedValue) -> str:
    """What may stand before a value that is given a width, as in {epoch:3d}."""
    spec = ast.unparse(part.format_spec) if part.format_spec else ""
    return r"\s*" if re.match(r"""f['"][<>^ +]*[1-9]""", spec) else ""


def _group(name: str) -> str:
    return re.sub(r"[ .-]", "_", name.replace("/", "__"))
