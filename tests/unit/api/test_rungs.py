"""What became of the trials at the rungs of a pruner."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from typer.testing import CliRunner

from store.models import TrialRow
from store.session import writes
from tests.api_server import ApiServer, on_sqlite
from trialyard.client import Client
from trialyard.study_commands import commands

COMPLETE, PRUNED, PAUSED, RUNNING = "COMPLETE", "PRUNED", "PAUSED", "RUNNING"


def with_trials(server: ApiServer, pruner: dict[str, Any], *stand: tuple[str, int | None]) -> dict[str, Any]:
    """A study `s` whose trials are in these states at these steps, and its rungs."""
    server.create("s", pruner=pruner, budget={"trials": 9})
    server.add_trials([1.0] * len(stand))
    with writes(server.engine).begin() as session:
        for number, (state, step) in enumerate(stand):
            columns: dict[str, Any] = {"state": state, "step": step}
            if state in (PAUSED, RUNNING):
                columns["ended_at"] = None
            session.execute(update(TrialRow).where(TrialRow.number == number).values(columns))
    found: dict[str, Any] = server.get("s/rungs")
    return found


def told(bracket: dict[str, Any]) -> list[tuple[int, int, int, int]]:
    return [(each["step"], each["reached"], each["stopped"], each["waiting"]) for each in bracket["rungs"]]


@on_sqlite
def test_hyperband_has_its_brackets_as_it_deals_the_trials(server: ApiServer) -> None:
    """Of the study s, by crc32 over [27, 12, 6, 4]: trial 0 is in bracket 2, trial 1 in bracket 1, trial 3 in bracket 3
    (tests/unit/search/test_samplers.py), and trial 2 too: crc32(b"s_2") % 49 is 45.
    """
    hyperband = {"name": "hyperband", "min_resource": 1, "max_resource": 27, "reduction_factor": 3}
    found = with_trials(server, hyperband, (PRUNED, 9), (PRUNED, 4), (COMPLETE, 27), (RUNNING, 5))

    assert [bracket["trials"] for bracket in found["brackets"]] == [0, 1, 1, 2]
    assert told(found["brackets"][0]) == [(1, 0, 0, 0), (3, 0, 0, 0), (9, 0, 0, 0), (27, 0, 0, 0)]
    assert told(found["brackets"][1]) == [(3, 1, 1, 0), (9, 0, 0, 0), (27, 0, 0, 0)]
    assert told(found["brackets"][2]) == [(9, 1, 1, 0), (27, 0, 0, 0)]
    assert told(found["brackets"][3]) == [(27, 1, 0, 0)]


@on_sqlite
def test_trials_wait_at_the_rungs_of_asha(server: ApiServer) -> None:
    asha = {"name": "asha", "min_resource": 2, "max_resource": 9, "reduction_factor": 2}
    found = with_trials(server, asha, (PAUSED, 2), (PAUSED, 4), (COMPLETE, 9), (PRUNED, 3), (RUNNING, None))

    assert told(found["brackets"][0]) == [(2, 4, 1, 1), (4, 2, 0, 1), (8, 1, 0, 0)]
    with Client(server.url) as client:
        assert client.rungs("s").model_dump() == found
    printed = CliRunner().invoke(commands, ["rungs", "s", "--server", server.url]).output.split()
    assert printed == [
        "rung",
        "reached",
        "stopped",
        "waiting",
        "2",
        "4",
        "1",
        "1",
        "4",
        "2",
        "0",
        "1",
        "8",
        "1",
        "0",
        "0",
    ]


@on_sqlite
def test_successive_halving_has_the_rungs_that_were_reached_and_others_have_none(server: ApiServer) -> None:
    halving = {"name": "successive_halving", "reduction_factor": 4, "min_early_stopping_rate": 1}
    assert told(with_trials(server, halving, (PRUNED, 5), (COMPLETE, 40))["brackets"][0]) == [
        (4, 2, 1, 0),
        (16, 1, 0, 0),
    ]
    server.create("t", pruner={"name": "median"})
    assert server.get("t/rungs") == {"pruner": "median", "brackets": []}
