"""Re-scored trials on a terminal: waited for, and beside what the search saw of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from rich.table import Table

from trialyard.client import Client
from trialyard.resources import Rescore

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
