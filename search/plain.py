"""What any JSON must be before we look at its meaning: small, shallow, and storable by every database we support."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator

from search.findings import MOST_PROBLEMS, Finding, Location, shown

MOST_BYTES = 1_000_000
MOST_VALUES = 500_000  # no more fit into that many bytes
MOST_DEPTH = 32
LARGEST_INT = 2**53  # beyond it, readers that hold numbers as floats lose digits

# PostgreSQL stores neither NUL nor lone surrogates; the other control characters spoil logs and terminals.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class NotPlain(Exception):
    """The document is of no shape that further checks could walk."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


def check_plain(document: object, most_values: int = MOST_VALUES) -> list[Finding]:
    """Values that JSON or a database cannot hold, each with its place; at most as many as will be told.

    Raises:
        NotPlain: the document is no JSON at all, too deep, or of too many values.
    """
    findings: list[Finding] = []
    for count, (at, value) in enumerate(_walk(document)):
        if count > most_values:  # aliases can share one value endlessly
            raise NotPlain(Finding((), "is too large", f"{most_values:,} values are the most"))
        if isinstance(value, dict | list) and len(value) > most_values:
            raise NotPlain(Finding(at, f"has {len(value):,} entries", f"{most_values:,} values in all are the most"))
        finding = _check_value(at, value)
        if finding and len(findings) < MOST_PROBLEMS:
            findings.append(finding)
    return findings


def check_size(document: object) -> None:
    """See that a document has no more bytes than a study may have.

    Raises:
        NotPlain: it has; tells of the innermost value that most of them are in.
    """
    at: Location = ()
    size, value = len(json.dumps(document)), document
    if size > MOST_BYTES:
        while inner := next(((key, each) for key, each in _entries(value) if 2 * len(json.dumps(each)) > size), None):
            at, value = (*at, inner[0]), inner[1]
        message = f"has {len(json.dumps(value)):,} bytes"
        raise NotPlain(Finding(at, message, f"a study may have {MOST_BYTES:,}{' in all' if at else ''}"))


def check_whole_size(document: object) -> list[Finding]:
    """The same of what a study file has become, whose places are not all in the file."""
    size, when = len(json.dumps(document)), " with its defaults and the values that its conditions let in"
    return [Finding((), f"has {size:,} bytes{when}", f"a study may have {MOST_BYTES:,}")] if size > MOST_BYTES else []


def _entries(value: object) -> Iterable[tuple[int | str, object]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _walk(document: object) -> Iterator[tuple[Location, object]]:
    """Every value with its place; keys are checked on the way down."""
    waiting: list[tuple[Location, object]] = [((), document)]
    while waiting:
        at, value = waiting.pop()
        yield at, value
        if isinstance(value, dict | list) and len(at) >= MOST_DEPTH:
            raise NotPlain(Finding(at[:4], f"is nested more than {MOST_DEPTH} deep", "no key of a study needs that"))
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise NotPlain(Finding(at, f"has the key {shown(key)}, which is no text", "put it in quotes"))
        waiting.extend(((*at, key), each) for key, each in _entries(value))


def _check_value(at: Location, value: object) -> Finding | None:
    if at and isinstance(at[-1], str) and _UNSTORABLE.search(at[-1]):
        return Finding(at, "has a key with control characters or half a surrogate pair", "leave them out")
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            return Finding(at, "holds control characters or half a surrogate pair", "leave them out")
    elif isinstance(value, float):
        if not math.isfinite(value):
            name = "NaN" if math.isnan(value) else "infinity"
            return Finding(at, f"is {name}, which is no number to search with", "write a finite number")
    elif isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise NotPlain(Finding(at, "is a larger number than any float", "write a smaller one"))
        if abs(value) > LARGEST_INT:
            return Finding(at, "is a whole number beyond ±2^53", "write it as a float, as in 1.0e+20")
    elif value is not None and not isinstance(value, bool | dict | list):
        raise NotPlain(Finding(at, f"is a {type(value).__name__}, which JSON does not have", "write it as text"))
    return None
