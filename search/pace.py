"""How long the trainings of a study take, and how many steps there is still time for."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from statistics import median

from search.definition import Definition
from search.knobs import longest_training
from search.sections import Asha, Hyperband

NEWEST = 99  # steps, and complete trials, whose medians count
# Of the measured time a step is taken to need so much: a training that is stopped a little before its end is nearly
# done, and a slot that stands still for a wrong guess is lost.
TRUSTED = 0.9
LONGEST = 0.5  # of the time allowed: longer trainings are begun whenever there is a place, else hardly any would be


class Pace:
    """Measured by the reports of one study; nothing is stored, and a study that is loaded again measures anew."""

    def __init__(self, definition: Definition) -> None:
        self._declared = _declared(definition)
        self._seconds: deque[float] = deque(maxlen=NEWEST)  # of a step
        self._lengths: deque[int] = deque(maxlen=NEWEST)  # in steps, of complete trials
        self._last: dict[int, tuple[int, datetime]] = {}  # by trial whose attempt runs: its last step, and when

    def reported(self, number: int, step: int, at: datetime) -> None:
        """A trial has come to this step."""
        if (last := self._last.get(number)) is not None and step > last[0]:
            self._seconds.append((at - last[1]).total_seconds() / (step - last[0]))
        self._last[number] = step, at

    def ended(self, number: int, is_complete: bool) -> None:
        """The trial's attempt has ended: what comes before its next report is no step."""
        last = self._last.pop(number, None)
        if is_complete and last is not None:
            self._lengths.append(last[0])

    def lacking(self, seconds: float, allowed: float) -> float:
        """How many steps of a whole training are too many for so many seconds; 0 while that is not known.

        Args:
            allowed: the seconds of the whole search.
        """
        length = median(self._lengths) if self._lengths else self._declared
        if length is None or not self._seconds:
            return 0
        step = TRUSTED * median(self._seconds)
        return max(0.0, length - seconds / step) if 0 < step * length <= LONGEST * allowed else 0


def _declared(definition: Definition) -> int | None:
    """The steps of a whole training, where the study file says so."""
    if isinstance(definition.pruner, Asha | Hyperband):
        epochs: int | None = definition.pruner.max_resource
    else:
        epochs = longest_training(definition.parameters, definition.trial)
    stops = definition.trial.get("early_stopping") is not None
    return None if stops or "epochs" in definition.parameters else epochs
