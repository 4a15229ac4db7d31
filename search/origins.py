"""The finished trials that a study's models begin with: which attempts have left their files."""

from __future__ import annotations

from sqlalchemy.orm import Session

from search.definition import Definition
from search.parameters import Choice
from store.errors import NotFound
from store.messages import AttemptKey
from store.models import TrialState
from store.studies import Studies
from store.trials import Trials

PREFIX = "trial:"


def find_origins(session: Session, definition: Definition) -> dict[str, AttemptKey]:
    """The attempt behind each source `trial:<study>/<number>` that the study names; one that is not there, or has not
    ended well, is left out.
    """
    found = {source: _attempt(session, source) for source in _sources(definition)}
    return {source: key for source, key in found.items() if key is not None}


def _sources(definition: Definition) -> list[str]:
    if definition.kind != "train":
        return []
    model = definition.trial.get("model")
    named = [model.get("source")] if isinstance(model, dict) else []
    searched = definition.parameters.get("model.source")
    named += searched.values if isinstance(searched, Choice) else []
    return [source for source in named if isinstance(source, str) and source.startswith(PREFIX)]


def _attempt(session: Session, source: str) -> AttemptKey | None:
    name, _, number = source.removeprefix(PREFIX).partition("/")
    try:
        trials = Trials(session, Studies(session).get(name))
        trial = trials.get(int(number))
    except NotFound:
        return None
    return trials.newest_attempt(trial.number) if trial.state == TrialState.COMPLETE else None
