"""Reading metrics from the lines that a command prints."""

from __future__ import annotations

import json
import re
from typing import NamedTuple


class Reading(NamedTuple):
    """What a line reports. `step` is None where the pattern names none."""

    step: int | None
    metrics: dict[str, float]


class Pattern:
    """A regular expression whose named groups say what they read.

    `step` is the step. `name` and `value` together are a metric. Any other group is the metric of its own name, in
    which two underscores stand for a slash: `val__loss` is val/loss. All that is found in one line is one report.
    """

    def __init__(self, expression: str) -> None:
        self._expression = re.compile(expression)

    def read(self, line: str) -> Reading | None:
        """What a line reports; None if it names no metric, or one that is no number."""
        step: int | None = None
        metrics: dict[str, float] = {}
        try:
            for match in self._expression.finditer(line):
                found = {group: text for group, text in match.groupdict().items() if text is not None}
                step = int(found.pop("step")) if "step" in found else step
                if "name" in found and "value" in found:
                    metrics[found.pop("name")] = float(found.pop("value"))
                metrics |= {group.replace("__", "/"): float(text) for group, text in found.items()}
        except ValueError:
            return None
        return Reading(step, metrics) if metrics else None


def without_torchrun(printed: str) -> str:
    """Of several processes under torchrun, what the one printed last that failed first; anything else as it is.

    At its end torchrun prints some forty lines of its own, which do not say what happened, and the other processes tell
    that one of them is gone.
    """
    if _CHILD_FAILED not in printed:
        return printed
    of_processes, _, report = printed.partition(_CHILD_FAILED)
    of_processes = of_processes[: of_processes.rfind("Traceback (most recent call last):")]
    lines = [line for line in of_processes.splitlines() if not _OF_ELASTIC.match(line)]
    if (rank := _FIRST_RANK.search(report)) is not None:
        prefix = f"[rank{rank[1]}]: "
        lines = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)] or lines
    return "\n".join(lines)


def final_metrics(printed: str) -> dict[str, float]:
    """The metrics in the last line that was printed, if it is a JSON object of numbers; else none."""
    lines = printed.split()
    if not lines:
        return {}
    try:
        # As a float a number of a thousand digits is infinite, which is told.
        document = json.loads(printed.strip().splitlines()[-1], parse_int=float)
    except (ValueError, RecursionError):
        return {}
    are_numbers = isinstance(document, dict) and all(type(value) is float for value in document.values())
    return document if are_numbers else {}


_CHILD_FAILED = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
_OF_ELASTIC = re.compile(r"[A-Z]\d{4} .*torch/distributed/elastic/")
_FIRST_RANK = re.compile(r"Root Cause.*?rank\s*: (\d+)", re.DOTALL)
