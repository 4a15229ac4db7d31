"""A study with several objectives as the API shows it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.testing import CliRunner

from store.models import TrialRow, TrialState
from store.session import writes
from tests.api_server import EPOCH, ApiServer, on_sqlite
from trialyard.client import Client
from trialyard.errors import Conflict
from trialyard.study_commands import commands

TWO = [{"metric": "accuracy", "direction": "maximize"}, {"metric": "params", "direction": "minimize"}]
#        0: beaten by 1    1: in front      2: in front      3: in front too, being equal to 2
VALUES = [(0.7, 500.0), (0.8, 400.0), (0.9, 900.0), (0.9, 900.0)]


def add(server: ApiServer, *values: tuple[float, float], violations: dict[int, float] | None = None) -> None:
    study_id = server.study_id()
    with writes(server.engine).begin() as session:
        for number, (accuracy, params) in enumerate(values):
            columns: dict[str, Any] = {"parameters": {"x": accuracy}, "system_attrs": {}, "created_at": EPOCH}
            columns |= {"values": {"accuracy": accuracy, "params": params}, "state": str(TrialState.COMPLETE)}
            violation = (violations or {}).get(number)
            row = TrialRow(study_id=study_id, number=number, violation=violation, ended_at=EPOCH, **columns)
            session.add(row)


def test_the_front_comes_with_its_hypervolume_over_the_trials(server: ApiServer) -> None:
    server.create("s", objective=TWO)
    empty = server.get("s/pareto")
    add(server, *VALUES)

    found = server.get("s/pareto", reference="0.5,1000")

    assert (empty["front"], empty["reference"], empty["volumes"]) == ([], None, [])
    assert (found["objectives"], found["trials"]) == (TWO, 4)
    assert [each["number"] for each in found["front"]] == [2, 3, 1]  # the best by the first objective first
    assert found["front"][2] == {
        "number": 1,
        "values": {"accuracy": 0.8, "params": 400.0},
        "parameters": {"x": 0.8},
    }
    assert found["reference"] == {"accuracy": 0.5, "params": 1000.0}
    # 0: 0.2 x 500; 1, which beats it: 0.3 x 600; 2 adds 0.1 x 100; 3 nothing
    volumes = [(each["number"], pytest.approx(each["hypervolume"])) for each in found["volumes"]]
    assert volumes == [(0, 100.0), (1, 180.0), (2, 190.0)]


@on_sqlite
def test_without_a_reference_point_it_lies_behind_the_worst_trial(server: ApiServer) -> None:
    server.create("s", objective=TWO)
    add(server, *VALUES)

    with Client(server.url) as client:
        found = client.pareto("s")

    # accuracies from 0.7 to 0.9, params from 400 to 900, a tenth of each behind the worse end
    assert found.reference == {"accuracy": pytest.approx(0.68), "params": pytest.approx(950.0)}


@on_sqlite
@pytest.mark.parametrize(("reference", "words"), [("1", "2 objectives"), ("a,b", "as in"), ("nan,1", "as in")])
def test_a_reference_point_that_is_none_is_refused(server: ApiServer, reference: str, words: str) -> None:
    server.create("s", objective=TWO)

    answer = server.http.get("/api/v1/studies/s/pareto", params={"reference": reference})

    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "reference")
    assert words in answer.json()["errors"][0]["hint"]


@on_sqlite
def test_no_trial_is_the_best_by_several_objectives(server: ApiServer) -> None:
    server.create("s", objective=TWO)
    add(server, *VALUES)

    assert server.get("s")["best"] is None
    with Client(server.url) as client, pytest.raises(Conflict, match="/studies/s/pareto"):
        client.best("s")


@on_sqlite
def test_importance_is_told_for_each_objective(server: ApiServer) -> None:
    server.create("s", objective=TWO)
    add(server, *VALUES)

    with Client(server.url) as client:
        assert client.importance("s", "params").keys() == client.importance("s", "accuracy").keys() == {"x"}
        assert client.importance("s") == client.importance("s", "accuracy")
    asked = CliRunner().invoke(commands, ["importance", "s", "--metric", "params", "--server", server.url])
    assert asked.output.split() == ["parameter", "share", "x", "1.000"]
    wrong = CliRunner().invoke(commands, ["importance", "s", "--metric", "loss", "--server", server.url])
    assert str(wrong.exception) == "--metric loss: the study's objectives are accuracy, params"


def test_what_breaks_a_constraint_is_neither_the_best_nor_in_front(server: ApiServer) -> None:
    server.create("s", objective=TWO, constraints=[{"metric": "params", "at_most": 800}])
    add(server, *VALUES, violations={0: 0.0, 1: 0.0, 2: 100.0, 3: 100.0})

    assert [each["number"] for each in server.get("s/pareto")["front"]] == [1]
    assert [trial["feasible"] for trial in server.get("s/trials")["items"]] == [True, True, False, False]


def test_the_best_trial_is_a_feasible_one(server: ApiServer) -> None:
    server.create("s", objective=TWO[0], constraints=[{"metric": "params", "at_most": 800}])
    add(server, *VALUES, violations={0: 0.0, 1: 0.0, 2: 100.0, 3: 100.0})

    assert server.get("s")["best"]["number"] == server.get("s/best")["number"] == 1


@on_sqlite
def test_the_report_draws_the_front_and_names_no_best_trial(server: ApiServer) -> None:
    server.create("s", objective=TWO)
    add(server, *VALUES, (0.95, 100.0), violations={4: 1.0})  # the last one would beat all, and breaks a constraint

    text = server.http.get("/api/v1/studies/s/report").text

    assert "The best trial" not in text
    assert "Beaten by no other: 3 of 5 complete trials" in text
    rows = re.findall(r'<tr><td class="num">(\d+)</td><td class="num">([\d.]+)</td><td class="num">([\d.]+)</td>', text)
    assert [tuple(map(float, row)) for row in rows] == [(2, 0.9, 900), (3, 0.9, 900), (1, 0.8, 400)]
    picture = re.search(r"<figcaption>Pareto front</figcaption>(<svg.*?</svg>)", text)
    assert picture
    assert picture[1].count("<circle") == 5
    # From the most accurate trial on at its size, and then down to the smaller one's: along, and then up or down.
    assert re.search(r'<path class="best" d="M([\d.]+) ([\d.]+)H\1L\1 \2H([\d.]+)L\3 [\d.]+"/>', picture[1])
