"""The ranges that other tools know, as entries of `parameters`."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from trialyard.importing.foreign import Section

NO_BOUNDS = "has no bounds, and a search here takes place within bounds"
BOUNDS_HINT = "write a uniform or log-uniform range that covers the values worth trying"


def floats(at: Section, low: float | None, high: float | None, log: bool = False) -> dict[str, Any] | None:
    """The floats of a range, both bounds included; None if `at` has been told what is wrong."""
    if low is None or high is None:
        return _unbounded(at)
    if low == high:
        return {"value": float(low)}
    if log and low <= 0:
        at.wrong("", f"a log scale cannot begin at {low:g}", "raise the lower bound above 0")
        return None
    return _range(at, float(low), float(high), {"log": True} if log else {})


def integers(
    at: Section, low: float | None, high: float | None, step: float | None = None, log: bool = False
) -> dict[str, Any] | None:
    """The whole numbers of a range, both bounds included."""
    if low is None or high is None:
        return _unbounded(at)
    numbers = [number for number in (low, high, step) if number is not None]
    if not all(float(number).is_integer() for number in numbers):
        at.wrong("", "is a range of whole numbers, and a bound or the step is none")
        return None
    if low == high:
        return {"value": int(low)}
    if log and low < 1:
        at.wrong("", f"a log scale of whole numbers cannot begin at {low:g}", "raise the lower bound to 1")
        return None
    extra: dict[str, Any] = {"log": True} if log else {}
    if step is not None and step != 1:
        extra["step"] = int(step)
    return _range(at, int(low), int(high), extra)


def steps(at: Section, low: float | None, high: float | None, step: float | None) -> dict[str, Any] | None:
    """Floats from `low` to `high` in steps from `low` on."""
    if low is None or high is None or step is None:
        return _unbounded(at)
    if step <= 0:
        at.wrong("", f"the step must be greater than 0, and is {step:g}")
        return None
    if low == high:
        return {"value": float(low)}
    return _range(at, float(low), float(high), {"step": float(step)})


def quantized(at: Section, low: float | None, high: float | None, q: float) -> dict[str, Any] | None:
    """The multiples of q between two bounds, which must be multiples themselves: then rounding leaves nothing over.

    Whole numbers if all three are whole.
    """
    if low is None or high is None:
        return _unbounded(at)
    if q <= 0:
        at.wrong("", f"q must be greater than 0, and is {q:g}")
        return None
    if any(Decimal(str(bound)) % Decimal(str(q)) for bound in (low, high)):
        hint = f"write bounds such as {math.ceil(low / q) * q:g} and {math.floor(high / q) * q:g}"
        at.wrong(
            "", f"its bounds {low:g} and {high:g} are no multiples of q = {q:g}, so that rounding leaves them", hint
        )
        return None
    whole = all(isinstance(number, int) for number in (low, high, q))
    return integers(at, low, high, q) if whole else steps(at, low, high, q)


def quantized_log(at: Section, low: float, high: float, q: float) -> dict[str, Any] | None:
    """Log-uniform numbers rounded to multiples of q, which can be had for q = 1."""
    if q != 1:
        at.wrong("", f"a log scale in steps of q = {q:g} cannot be carried over", "leave q out, or list the values")
        return None
    return integers(at, round(low), round(high), log=True)


def _range(at: Section, low: float, high: float, extra: dict[str, Any]) -> dict[str, Any] | None:
    if low > high:
        at.wrong("", f"the range is empty: {low:g} is greater than {high:g}")
        return None
    return {"low": low, "high": high, **extra}


def _unbounded(at: Section) -> dict[str, Any] | None:
    at.wrong("", "lacks a bound, or one is no number", "a range needs both of its bounds")
    return None
