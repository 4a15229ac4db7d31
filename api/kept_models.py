"""Which models a study has kept, and where."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.parts import Parts
from store.errors import Conflict, NotFound
from store.messages import AttemptKey
from store.models import StudyRow, TaskRow, TaskState, TrialState
from store.tasks import Tasks
from store.trials import Trials

MODEL = "model.json"
PREDICTIONS = "predictions.npz"


def model_of(parts: Parts, study: StudyRow, trials: Trials, number: int | None) -> AttemptKey:
    """The attempt that left the model of a trial, or of the best one.

    Raises:
        NotFound: there is no such trial, or none is complete.
        Conflict: it has left no model, or of several objectives no trial is named.
    """
    if number is None and len(study.objectives) > 1:
        raise Conflict(f"the study {study.name!r} has several objectives and no best trial; name a trial of its front")
    trial = trials.best() if number is None else trials.get(number)
    if trial is None:
        raise NotFound(f"no trial of the study {study.name!r} is complete yet")
    if trial.state != TrialState.COMPLETE:
        raise Conflict(f"trial {trial.number} is {trial.state}; only a COMPLETE one has a model")
    if study.definition["trial"]["kind"] != "train":
        raise Conflict(f"the study {study.name!r} runs code of its own: what its trials leave is no model of ours")
    attempt = trials.newest_attempt(trial.number)
    if attempt is None or MODEL not in parts.artifacts.attempt(attempt).names():
        raise Conflict(f"the model of trial {trial.number} is gone; run its parameters again to have it anew")
    return attempt


def complete_ensemble(session: Session, study: StudyRow, number: int) -> TaskRow:
    """Raises: NotFound: there is no such ensemble. Conflict: it is not built (yet)."""
    task = Tasks(session, study).ensemble(number)
    if task.state != TaskState.COMPLETE:
        why = f": {task.reason}" if task.reason else ""
        raise Conflict(f"ensemble {number} is {task.state}{why}; only a COMPLETE one can be used")
    return task
