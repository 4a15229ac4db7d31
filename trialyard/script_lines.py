"""The lines that a Python script prints in its loops, as far as they can be told without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from string import Formatter

_SAYING = {"print", "info", "debug", "log", "write", "echo"}
_STEPS = {"epoch", "step", "iter", "iteration", "round", "it", "ep"}
_NAME = re.compile(r"((train|val|test|eval|dev)[a-z]* )?[A-Za-z_][\w/.-]*(?=\W*$)", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_PERCENT = re.compile(r"(%%|%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z])")
_PADDED = re.compile(r"[<>^ +]*[1-9]")  # a width, as in {epoch:3d}
_WHOLE = r"\d+"
_NUMBER = r"[-+.\w]+"  # nan and 1e-05 too


@dataclass(frozen=True)
class Line:
    """A line that the script prints again and again: a regular expression for it, and the metrics in it."""

    pattern: str
    metrics: tuple[str, ...]
    has_step: bool


@dataclass(frozen=True)
class _Value:
    expression: ast.expr
    is_padded: bool = False


_Part = str | _Value
_NOTHING = ast.Constant(None)


def printed_lines(tree: ast.Module) -> Iterator[Line]:
    """What is said in loops, as far as it has metrics: by f-strings, `%`, `format`, and several words of `print`."""
    loops = (node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While))
    for call in (node for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Call)):
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if name in _SAYING:
            yield from (line for parts in _split(_said(name, call.args)) if (line := _line(parts)).metrics)


def _said(name: str, arguments: list[ast.expr]) -> Iterator[_Part]:
    if name != "print" and len(arguments) > 1:  # logging puts what follows into its first argument
        arguments = [ast.BinOp(arguments[0], ast.Mod(), ast.Tuple(arguments[1:]))]
    for place, argument in enumerate(arguments):
        yield from (" ",) if place else ()
        yield from _parts(argument)


def _parts(node: ast.expr) -> Iterator[_Part]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            for value in values:
                yield from _parts(value)
        case ast.FormattedValue(value=expression, format_spec=spec):
            yield _Value(expression, bool(spec and _PADDED.match(ast.unparse(spec)[2:])))
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=right):
            yield from _by_percent(text, right.elts if isinstance(right, ast.Tuple) else [right])
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format"), args=arguments):
            yield from _by_format(text, arguments)
        case _:
            yield _Value(node)


def _by_percent(text: str, values: Iterable[ast.expr]) -> Iterator[_Part]:
    rest = iter(values)
    for piece in _PERCENT.split(text):
        if not _PERCENT.fullmatch(piece):
            yield piece
        elif piece == "%%":
            yield "%"
        else:
            value = next(rest, _NOTHING)  # %s is of texts: it gets no name
            yield _Value(_NOTHING if piece[-1] in "sra" else value, bool(_PADDED.match(piece[1:])))


def _by_format(text: str, values: Iterable[ast.expr]) -> Iterator[_Part]:
    rest = iter(values)
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:  # no template after all
        return
    for literal, field, spec, _ in pieces:
        yield literal
        if field is not None:
            value = ast.Name(field) if field.isidentifier() else next(rest, _NOTHING)
            yield _Value(value, bool(_PADDED.match(spec or "")))


def _split(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    """The parts of each line, no two texts one after the other."""
    line: list[_Part] = [""]
    for part in parts:
        if isinstance(part, _Value):
            line += [part, ""]
            continue
        first, *others = re.split(r"[\r\n]", part)
        line[-1] = f"{line[-1]}{first}"
        for other in others:
            yield line
            line = [other]
    yield line


def _line(parts: list[_Part]) -> Line:
    """A metric is called by the word before its value, as in `f"loss {loss:.3f}"`."""
    pieces: list[str] = []
    found: list[str] = []
    before = ""
    for part in parts:
        if isinstance(part, str):
            before = _COLOUR.sub(" ", part)
            pieces.append(_literally(part))
            continue
        name = _name_of(part.expression, before)
        group = "step" if name.lower() in _STEPS else _group(name)
        is_new = group.isidentifier() and group not in found
        value = rf"(?P<{group}>{_WHOLE if group == 'step' else _NUMBER})"
        pieces.append((r"\s*" if part.is_padded else "") + value if is_new else ".*?")
        found += [group] if is_new else []
    metrics = tuple(group.replace("__", "/") for group in found if group != "step")
    return Line("".join(pieces).strip(), metrics, has_step="step" in found)


def _literally(text: str) -> str:
    """An expression for a text, without what may not stand in a literal string of TOML."""
    plain = "".join(each if each.isprintable() and each != "'" else "\0" for each in text)
    return re.escape(plain).replace("\\ ", " ").replace("\\\0", ".").replace("\0", ".")


def _name_of(value: ast.expr, before: str) -> str:
    """The word before a value, with the rows that it is of (`val loss`), or the variable that it is; none for what only
    says how many there are, as in 3/10.
    """
    if value is _NOTHING or re.search(r"(/|\bof)\s*$", before):
        return ""
    if word := _NAME.search(before):
        return word[0].strip("./-")
    value = value.left if isinstance(value, ast.BinOp) else value
    return value.id if isinstance(value, ast.Name) else ""


def _group(name: str) -> str:
    return re.sub(r"[ .-]", "_", name.replace("/", "__"))
