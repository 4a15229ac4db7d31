"""How far a study is, folded from its events, and how that looks in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trialyard.resources import ENDED_STUDY, ENDED_TRIAL, Event, Objective, Study
from trialyard.tables import short_reason

BARS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 32
MOST_REASONS = 5
_SHOWN_STATES = ("running", "queued", "waiting", "paused", "complete", "pruned", "failed", "cancelled")


@dataclass
class Progress:
    """A study as far as its events have told.

    `before` trials had ended, or waited at rungs, when we began to look, and took none of our time. `state` was known
    then up to the event `since`: an end that the log tells before it is none any more.
    """

    study: str
    metric: str
    direction: str
    total: int | None
    before: int
    state: str = "PREPARING"
    since: int = 0
    trials: dict[int, str] = field(default_factory=dict)
    curves: dict[int, dict[int, float]] = field(default_factory=dict)
    best: int | None = None
    best_value: float | None = None
    objectives: Sequence[Objective] = ()  # where there are several
    front: dict[int, list[float]] = field(default_factory=dict)  # the trials that none beats, in minimizing direction
    failures: dict[str, int] = field(default_factory=dict)  # the first trial that failed so; a few, each told once

    @classmethod
    def of(cls, study: Study) -> Progress:
        objective, passed = study.objective, study.counts.ended + study.counts.paused
        several = study.objectives if len(study.objectives) > 1 else ()
        return cls(
            study.name, objective.metric, objective.direction, study.total, passed, study.state,
            study.last_event, objectives=several,
        )  # fmt: skip

    def apply(self, event: Event) -> None:
        body = event.body
        if event.kind == "study":
            self.state = body["state"] if event.id > self.since else self.state
        elif event.kind == "trial":
            self.trials[body["number"]] = body["state"]
            if self.total is not None:
                self.total = max(self.total, len(self.trials))  # a grid's that failed come again
            if body["state"] == "COMPLETE" and body["values"]:
                self._compare(body["number"], body["values"])
            if body["state"] == "FAILED" and (reason := body.get("reason")) and len(self.failures) < MOST_REASONS:
                self.failures.setdefault(short_reason(reason), body["number"])
        elif event.kind == "report" and self.metric in body["metrics"]:
            # Keyed by the step: an attempt that goes on from a checkpoint repeats steps of the one before.
            self.curves.setdefault(body["number"], {})[body["step"]] = body["metrics"][self.metric]

    @property
    def ended(self) -> bool:
        return self.state in ENDED_STUDY

    @property
    def counts(self) -> Counter[str]:
        return Counter(state.lower() for state in self.trials.values())

    @property
    def done(self) -> int:
        return sum(state in ENDED_TRIAL for state in self.trials.values())

    @property
    def newest_running(self) -> int | None:
        """The newest trial that runs and has reported."""
        running = (number for number, state in self.trials.items() if state == "RUNNING" and number in self.curves)
        return max(running, default=None)

    def curve(self, number: int) -> list[float]:
        return [value for _, value in sorted(self.curves.get(number, {}).items())]

    def failures_after(self, told: int) -> list[str]:
        """A line for each way to fail that was not told yet."""
        return [f"trial {number} failed: {why}" for why, number in [*self.failures.items()][told:]]

    def seconds_left(self, elapsed: float) -> float | None:
        """An estimate from the pace of the trials that came so far while we looked; None while there is no telling.

        One that waits at a rung counts as one that has ended: few go on. Once all have begun these few are left.
        """
        waiting = self.counts["paused"]
        passed = self.done + waiting
        passed_here = passed - self.before
        if self.total is None or passed_here <= 0 or (waiting and len(self.trials) >= self.total):
            return None
        return elapsed / passed_here * max(self.total - passed, 0)

    def _compare(self, number: int, values: Mapping[str, float]) -> None:
        if self.objectives:
            self._join(number, values)
            return
        value = values[self.metric]
        sign = 1 if self.direction == "minimize" else -1
        if self.best_value is None or sign * value < sign * self.best_value:
            self.best, self.best_value = number, value

    def _join(self, number: int, values: Mapping[str, float]) -> None:
        """Put a trial into the front, unless one there is as good by every objective."""
        new = [values[each.metric] * (1 if each.direction == "minimize" else -1) for each in self.objectives]
        if not any(all(a <= b for a, b in zip(old, new, strict=True)) for old in self.front.values()):
            beaten = [at for at, old in self.front.items() if all(a <= b for a, b in zip(new, old, strict=True))]
            self.front = {at: old for at, old in self.front.items() if at not in beaten} | {number: new}


def spark(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """A curve as a row of bars, its lowest value the lowest bar; longer ones are thinned out evenly, ends kept."""
    if len(values) > width:
        last = len(values) - 1
        values = [values[round(place * last / (width - 1))] for place in range(width)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def line(progress: Progress, elapsed: float) -> str:
    """The progress as one line of plain text."""
    parts = [f"{_fraction(progress)} trials", _counts(progress)]
    if progress.best is not None:
        parts.append(f"best {progress.metric} {progress.best_value:.6g} (trial {progress.best})")
    if progress.front:
        parts.append(f"{len(progress.front)} beaten by none")
    parts.append(_time(progress, elapsed))
    return f"{progress.study}: " + " · ".join(part for part in parts if part)


def view(progress: Progress, elapsed: float, page_url: str) -> RenderableType:
    """The progress as a few lines that are drawn again and again in place."""
    head = Text.assemble((progress.study, "bold"), "  ", (page_url, "cyan"))
    bar = Table.grid(padding=(0, 2))
    bar.add_row(
        ProgressBar(total=progress.total, completed=progress.done, width=40, pulse=progress.total is None),
        _fraction(progress),
        _time(progress, elapsed),
    )
    curves = Table.grid(padding=(0, 2))
    for label, number in (("best", progress.best), ("newest", progress.newest_running)):
        if number is not None:
            curve = progress.curve(number)
            value = progress.best_value if label == "best" else curve[-1]
            curves.add_row(label, f"trial {number}", f"{progress.metric} {value:.6g}", Text(spark(curve), "green"))
    counts = _counts(progress) or "preparing: the data and the model are being looked at"
    front = f"; {len(progress.front)} beaten by none" if progress.front else ""
    return Group(head, bar, Text(counts + front), curves)


def _fraction(progress: Progress) -> str:
    return f"{progress.done}/{progress.total}" if progress.total is not None else f"{progress.done}"


def _counts(progress: Progress) -> str:
    counts = progress.counts
    return ", ".join(f"{counts[state]} {state}" for state in _SHOWN_STATES if counts[state])


def _time(progress: Progress, elapsed: float) -> str:
    left = progress.seconds_left(elapsed)
    gone = f"{clock(elapsed)} gone"
    return gone if left is None else f"{gone}, about {clock(left)} left"
