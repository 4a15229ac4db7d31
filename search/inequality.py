"""Linear inequalities between parameters, as people write them: `a + 2 * b <= 1`. Read by a grammar, never run.

    inequality = sum ("<" | "<=" | ">" | ">=") sum
    sum        = product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = {"+" | "-"} (number | name | "(" sum ")")

A name is written as it is if it has letters, digits, underscores and dots only; any other stands in quotes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

LONGEST = 1_000  # characters
MOST_NESTED = 20

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
         |(?P<name>[A-Za-z_]\w*(?:\.\w+)*)
         |(?P<quoted>"[^"]*"|'[^']*')
         |(?P<sign><=|>=|<|>|[-+*/()]))""",
    re.VERBOSE | re.ASCII,
)
_SHAPE = "as in model.width_low < model.width_high, or a + 2 * b <= 1"


class NotLinear(Exception):
    """A text is no linear inequality. `at`: the character that it cannot go on from, counted from 1."""

    def __init__(self, message: str, at: int, hint: str = "") -> None:
        self.message, self.at, self.hint = message, at, hint
        super().__init__(f"character {at}: {message}")


@dataclass(frozen=True)
class Inequality:
    """The sum of each parameter times its coefficient is at most the bound; of a strict one, less."""

    text: str
    coefficients: Mapping[str, float]
    bound: float
    strict: bool


@dataclass(frozen=True)
class _Sum:
    """A linear form: a constant, and coefficients by name."""

    constant: float = 0.0
    coefficients: dict[str, float] = field(default_factory=dict)

    def plus(self, other: _Sum, times: float) -> _Sum:
        names = [*self.coefficients, *(name for name in other.coefficients if name not in self.coefficients)]
        added = {name: self.coefficients.get(name, 0.0) + times * other.coefficients.get(name, 0.0) for name in names}
        return _Sum(self.constant + times * other.constant, added)

    def scaled(self, by: float) -> _Sum:
        return _Sum().plus(self, by)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int  # from 1


def read_inequality(text: str) -> Inequality:
    """The inequality that a text says.

    Raises:
        NotLinear
    """
    if len(text) > LONGEST:
        raise NotLinear(f"has {len(text):,} characters, {LONGEST:,} are the most", LONGEST + 1, "write several")
    return _Reader(text).inequality()


class _Reader:
    """Recursive descent, one method a rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._place = 0
        self._depth = 0

    def inequality(self) -> Inequality:
        left, sign, right = self._sum(), self._next, None
        if sign.text not in ("<", "<=", ">", ">="):
            self._refuse("expected one of < <= > >= here", _SHAPE)
        self._take()
        right = self._sum()
        if self._next.text in ("<", "<=", ">", ">="):
            self._refuse("one inequality has one sign", "write two constraints")
        if self._next.kind != "end":
            self._refuse(f"cannot go on with {self._next.text!r}")
        less, more = (left, right) if sign.text.startswith("<") else (right, left)
        both = less.plus(more, -1)
        coefficients = {name: each for name, each in both.coefficients.items() if each}
        if not all(map(math.isfinite, (both.constant, *coefficients.values()))):
            raise NotLinear("has numbers that are too large", 1)
        if not coefficients:
            raise NotLinear("names no parameter that makes a difference", 1, _SHAPE)
        return Inequality(self._text.strip(), coefficients, 0.0 - both.constant, strict=sign.text in "<>")

    def _sum(self) -> _Sum:
        total = self._product()
        while self._next.text in ("+", "-"):
            times = 1.0 if self._take().text == "+" else -1.0
            total = total.plus(self._product(), times)
        return total

    def _product(self) -> _Sum:
        product = self._factor()
        while self._next.text in ("*", "/"):
            sign = self._take()
            factor = self._factor()
            if sign.text == "/" and (factor.coefficients or not factor.constant):
                raise NotLinear("needs a number below it", sign.at, _SHAPE)
            if product.coefficients and factor.coefficients:
                raise NotLinear("is not linear: one factor must be a number", sign.at, _SHAPE)
            by = 1 / factor.constant if sign.text == "/" else factor.constant
            product = factor.scaled(product.constant) if factor.coefficients else product.scaled(by)
        return product

    def _factor(self) -> _Sum:
        times = 1.0
        while self._next.text in ("+", "-"):
            times = times if self._take().text == "+" else -times
        return self._atom().scaled(times)

    def _atom(self) -> _Sum:
        token = self._next
        if token.kind == "number":
            return _Sum(float(self._take().text))
        if token.kind in ("name", "quoted"):
            name = self._take().text
            return _Sum(0.0, {name if token.kind == "name" else name[1:-1]: 1.0})
        if token.text != "(":
            self._refuse("expected a parameter or a number here", _SHAPE)
        return self._parenthesis()

    def _parenthesis(self) -> _Sum:
        self._take()
        self._depth += 1
        if self._depth > MOST_NESTED:
            self._refuse(f"is nested more than {MOST_NESTED} deep")
        inner = self._sum()
        if self._next.text != ")":
            self._refuse("expected ) here")
        self._take()
        self._depth -= 1
        return inner

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += 1
        return token

    def _refuse(self, message: str, hint: str = "") -> NoReturn:
        raise NotLinear(message, self._next.at, hint)


def _tokens(text: str) -> list[_Token]:
    tokens, place = [], 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            at = place + len(text[place:]) - len(text[place:].lstrip()) + 1
            raise NotLinear(f"cannot read {text[at - 1]!r}", at, _hint(text[at - 1 :]))
        kind = str(found.lastgroup)
        tokens.append(_Token(kind, found[kind], found.start(kind) + 1))
        place = found.end()
    return [*tokens, _Token("end", "", len(text.rstrip()) + 1)]


def _hint(rest: str) -> str:
    if rest.startswith(("=", "!")):
        return "a constraint has one of < <= > >="
    return "names with other characters stand in quotes, as in 'learning-rate' < 1"
