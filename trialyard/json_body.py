"""Documents as they travel: what programs have in their hands, made into what JSON can carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trialyard.errors import InvalidRequest, Problem

MOST_PROBLEMS = 20


def json_body(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same document, its scalars and arrays of NumPy and torch as numbers and lists.

    Raises:
        InvalidRequest: it holds what JSON cannot carry; `errors` say where first.
    """
    problems: list[Problem] = []
    body: dict[str, Any] = _plain(document, (), problems)
    if problems:
        raise InvalidRequest("the request holds what JSON cannot carry", errors=problems[:MOST_PROBLEMS])
    return body


def _plain(value: Any, path: tuple[str, ...], problems: list[Problem]) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item, (*path, str(key)), problems) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, str(place)), problems) for place, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        what = "is NaN" if math.isnan(value) else "is infinite"
        problems.append(Problem(path=".".join(path), message=what, hint="give a finite number"))
    elif not isinstance(value, str | int | float | None):
        message = f"is of type {type(value).__name__}, which JSON does not have"
        problems.append(Problem(path=".".join(path), message=message, hint="give text, a number, true, false or null"))
    return value
