"""Every error that Trialyard raises on purpose. `api/errors.py` maps the tree to HTTP once; the CLI prints its text.

An error that a person can cause says what was wrong, where, and what would be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


class TrialyardError(Exception):
    """Anything that went wrong in a way we foresaw; its text is a sentence for the person who meets it."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a study: where in the document, what, and what would be right."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f"; {self.hint}" if self.hint else "")

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class DefinitionError(TrialyardError):
    """A study definition is wrong; nothing has been stored."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class NotFound(TrialyardError):
    """What was asked for does not exist."""


class Conflict(TrialyardError):
    """The request contradicts the present state: a name that is taken, a study that has ended."""


class StaleAttempt(TrialyardError):
    """A message came from an attempt that has ended or has a successor; nothing was changed."""


class BadRequest(TrialyardError):
    """A request was understood and cannot be right: a cursor of another list, a metric that is missing."""


class Unprocessable(TrialyardError):
    """A request is well formed and contradicts itself or what was said before; nothing was changed."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)


class Unavailable(TrialyardError):
    """A part that the request needs does not answer now (the scheduler, Redis, the database); asking again may work."""


class CutOff(Unavailable):
    """Redis cannot be reached: nobody sees that this process lives."""


class OtherVersion(TrialyardError):
    """What another process of the service sent cannot be read: it is of another version than this one."""


class TooLate(TrialyardError):
    """What a request needs was asked of a worker and was not done within the time that the request may take."""


class LostLease(TrialyardError):
    """Another scheduler has taken over; this one must drop what it holds in memory and stand by."""


class SettingsError(TrialyardError):
    """The settings cannot work: an address without a key, a database on a network file system, a missing part."""
