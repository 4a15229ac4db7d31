"""What routes are given: the parts of the service, a reading session, the study of the path, limits and filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from api.parts import Parts
from search.suggestions import nearest
from store.errors import Problem, Unprocessable
from store.messages import MAX_STEP
from store.models import StudyRow, StudyState, TrialState
from store.studies import Studies


def get_parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Wired = Annotated[Parts, Depends(get_parts)]


def get_session(parts: Wired) -> Iterator[Session]:
    with parts.reads() as session:
        yield session


# With the scope of the function the session is given back before the answer is sent, however slowly it is read.
Reading = Annotated[Session, Depends(get_session, scope="function")]

StudyName = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,64}$", description="the study's name")]


def _digits(text: object) -> object:
    """Raises: ValueError: pydantic would take `1.0`, `+1` and `1_0` for whole numbers, too."""
    if isinstance(text, str) and not (text.isascii() and text.isdigit()):
        raise ValueError("must be a whole number")
    return text


Digits = BeforeValidator(_digits)  # what stands in an address is compared with what stands elsewhere
Number = Annotated[int, Digits, Path(ge=0, le=MAX_STEP, description="the trial's number")]
Limit = Annotated[int, Query(ge=1, le=500, description="the most items of a page")]
CursorText = Annotated[
    str | None, Query(alias="cursor", max_length=2000, description="`next_cursor` of the page before")
]
States = Annotated[
    str | None, Query(alias="state", max_length=200, description="one state, or several separated by commas")
]


def get_study(name: StudyName, session: Reading) -> StudyRow:
    return Studies(session).get(name)


PathStudy = Annotated[StudyRow, Depends(get_study, scope="function")]


def study_states(state: States = None) -> list[StudyState]:
    """Raises: Unprocessable: there is no such state."""
    return [StudyState(name) for name in _known(state, [str(each) for each in StudyState])]


def trial_states(state: States = None) -> list[TrialState]:
    """Raises: Unprocessable: there is no such state."""
    return [TrialState(name) for name in _known(state, [str(each) for each in TrialState])]


StudyStates = Annotated[list[StudyState], Depends(study_states)]
TrialStates = Annotated[list[TrialState], Depends(trial_states)]


def _known(text: str | None, known: list[str]) -> list[str]:
    """The states of a comma list in upper case, each once, in an order that does not depend on how it was written."""
    names = {name.strip().upper() for name in (text or "").split(",") if name.strip()}
    unknown = [
        Problem("state", f"there is no state {name!r}", nearest(name, known)) for name in sorted(names - {*known})
    ]
    if unknown:
        raise Unprocessable(str(unknown[0]), unknown)
    return sorted(names)
