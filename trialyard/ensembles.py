"""Ensembles on a terminal: waited for, and beside their best members."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from trialyard.client import Client
from trialyard.errors import CommandError
from trialyard.resources import Beside, Ensemble, Study

LOOK_SECONDS = 0.2


def wait_for(client: Client, study: str, number: int, pause: Callable[[float], None] = time.sleep) -> Ensemble:
    """An ensemble, once it is built. Raises: CommandError: it has failed."""
    while not (found := client.ensemble(study, number)).ended:
        pause(LOOK_SECONDS)
    if found.state == "FAILED":
        raise CommandError(f"ensemble {number} of {study} has failed: {found.reason}")
    return found


def follow_refit(
    client: Client,
    study: Study,
    console: Console,
    each_moment: Callable[[], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a study's own refit is done, if it has one, and print what it came to beside the best trial.

    Args:
        each_moment: called several times a second; what it raises ends the waiting.

    Raises:
        CommandError: it has failed.
    """
    refit = study.refit
    if refit is None or study.best is None:
        return
    console.print("\nthe best trial again, on training and validation rows:\n", markup=False)
    while not refit.ended:
        each_moment()
        pause(LOOK_SECONDS)
        if (refit := client.study(study.name).refit) is None:
            return  # it was taken up again, and came to no good end
    found = wait_for(client, study.name, refit.ensemble or 0, pause)
    console.print(ensembles_table([found], study.objective.metric))
    console.print(how_to_use(study.name, found), markup=False, soft_wrap=True)


def how_to_use(study: str, ensemble: Ensemble) -> str:
    return f"To use it: trialyard predict {study} FILE --ensemble {ensemble.number}"


def ensembles_table(found: Sequence[Ensemble], metric: str) -> Table:
    """What each measured by the study's metric and costs, and in brackets the same of its best member."""
    name = metric.rpartition("/")[2]
    head = ["ensemble", "method", "state", "members", f"val/{name}", f"test/{name}", "parameters", "ms a row"]
    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for each in found:
        table.add_row(
            str(each.number),
            each.method,
            each.state if each.reason is None else f"{each.state}: {each.reason}",
            "" if each.members is None else str(len(each.members)),
            _measured(each, f"val/{name}"),
            _measured(each, f"test/{name}"),
            _cost(each.parameters, "{:,.0f}"),
            _cost(each.latency_ms, "{:.2f}"),
        )
    return table


def _measured(ensemble: Ensemble, metric: str) -> str:
    if ensemble.metrics is None or ensemble.best_member is None or metric not in ensemble.metrics:
        return ""
    return f"{ensemble.metrics[metric]:.5g} ({ensemble.best_member.metrics.get(metric, float('nan')):.5g})"


def _cost(cost: Beside | None, form: str) -> str:
    return "" if cost is None else f"{form.format(cost.ensemble)} ({form.format(cost.best_member)})"
