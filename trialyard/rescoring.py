"""Re-scored trials on a terminal: waited for, and beside what the search saw of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table

from trialyard.client import Client
from trialyard.resources import Rescore, Study

LOOK_SECONDS = 0.5


def wait_for(
    client: Client, study: str, numbers: Collection[int], pause: Callable[[float], None] = time.sleep
) -> list[Rescore]:
    """Those with these numbers, once all have ended, in their order."""
    while True:
        found = {each.number: each for each in client.rescores(study) if each.number in numbers}
        if all(each.ended for each in found.values()):
            return [found[number] for number in sorted(found)]
        pause(LOOK_SECONDS)


def follow_race(
    client: Client,
    study: Study,
    console: Console,
    each_moment: Callable[[], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a study's own race is over, if it has one, and print what it came to beside what was searched.

    Args:
        each_moment: called a few times a second; what it raises ends the waiting.
    """
    if study.rescoring is None or study.best is None:
        return
    said = ""
    while client.study(study.name).rescoring in ("WAITING", "RUNNING"):
        each_moment()
        if (line := _progress(list(client.rescores(study.name)))) != said:
            console.print(said := line, highlight=False, soft_wrap=True)
        pause(LOOK_SECONDS)
    found = standings(client.rescores(study.name), study.objective.direction)
    console.print("\nthe best trials again, from other seeds:\n", markup=False)
    console.print(rescores_table(found, study.objective.metric))


def standings(rescores: Iterable[Rescore], direction: str) -> list[Rescore]:
    """Each trial of a race as its last heat left it: those that came furthest first, the best of them first."""
    newest: dict[int, Rescore] = {}
    for each in rescores:
        if each.heat is not None and each.heat > (newest[each.trial].heat or 0 if each.trial in newest else 0):
            newest[each.trial] = each
    sign = 1 if direction == "minimize" else -1

    def rank(each: Rescore) -> tuple[int, bool, float]:
        return -(each.heat or 0), each.rescored is None, sign * (each.rescored or 0.0)

    return sorted(newest.values(), key=rank)


def _progress(rescores: Sequence[Rescore]) -> str:
    heats = [each for each in rescores if each.heat is not None]
    heat = max((each.heat or 0 for each in heats), default=0)
    now = [each for each in heats if each.heat == heat]
    if not now:
        return "re-scoring: waits for its first heat"
    return f"re-scoring: heat {heat}, {sum(each.ended for each in now)} of {len(now)} trials"


def rescores_table(found: Sequence[Rescore], metric: str) -> Table:
    """What the search saw, and what other seeds say."""
    head = ["trial", f"{metric} as searched", "seeds", "mean", "standard error", "state"]
    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for each in found:
        numbers = [_number(each.rescored), _number(each.standard_error)]
        state = each.state if each.reason is None else f"{each.state}: {each.reason}"
        table.add_row(str(each.trial), _number(each.searched), str(each.seeds), *numbers, state)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
