"""Importances: by PED-ANOVA at once, by fANOVA beside the requests."""

from __future__ import annotations

import os

import pytest

import api.fanova
import api.importances
from search.analysis import MOST_TRIALS
from tests.api_server import ApiServer, on_sqlite
from trialyard.client import Client
from trialyard.errors import ApiError

TRIALS = 20


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits here is not a person; beside other tests, a computation at low priority hardly comes to its turn."""
    monkeypatch.setattr(api.fanova, "POLITENESS", 0)


def add(server: ApiServer) -> None:
    """x decides all, y nothing."""
    server.create(
        "s", parameters={"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}, budget={"trials": 90}
    )
    with server.scheduling(), Client(server.url) as client:
        for handout in client.ask("s", "w", count=TRIALS):
            client.tell("s", handout, "complete", {"val/loss": handout.parameters["x"]})


def test_of_many_trials_an_even_sample_of_the_complete_ones_is_looked_at(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[float] = []
    monkeypatch.setitem(MOST_TRIALS, "ped_anova", 5)
    monkeypatch.setattr(api.importances, "importances", lambda *given: looked_at.extend(v for _, v in given[2]) or {})
    server.create()
    server.add_trials([0.0, 1.0, 2.0, 3.0, None, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])

    assert server.get("s/importance")["trials"] == 11
    assert looked_at == [0.0, 3.0, 7.0, 10.0]  # every third of those that did not fail: 5 of 11 at most


@on_sqlite
def test_it_is_begun_by_the_first_request_and_told_when_it_is_there(server: ApiServer) -> None:
    add(server)
    first = server.http.get("/api/v1/studies/s/importance", params={"method": "fanova"})

    assert (first.status_code, first.json()["state"], first.json()["importance"]) == (202, "computing", {})
    assert server.get("s/importance")["method"] == "ped_anova"  # beside it, everything is as before
    with Client(server.url) as client:
        shares = client.importance("s", method="fanova")
    assert list(shares) == ["x", "y"]
    assert shares["x"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    again = server.get("s/importance", method="fanova")
    assert (again["state"], again["trials"], again["importance"]) == ("done", TRIALS, shares)


@on_sqlite
def test_a_process_that_dies_is_told_and_the_next_request_tries_again(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(server)
    monkeypatch.setattr(api.fanova, "_work", os.abort)  # it takes no arguments, which ends the process
    with Client(server.url) as client, pytest.raises(ApiError, match="ended with exit code 1"):
        client.importance("s", method="fanova")

    assert server.http.get("/api/v1/studies/s/importance", params={"method": "fanova"}).status_code == 202


@on_sqlite
def test_a_study_without_a_complete_trial_has_none(server: ApiServer) -> None:
    server.create("s")
    first = server.http.get("/api/v1/studies/s/importance", params={"method": "fanova"})
    with Client(server.url) as client:
        shares = client.importance("s", method="fanova")

    assert (first.status_code, shares) == (202, {})


@on_sqlite
def test_a_computation_that_cannot_be_begun_is_not_waited_for(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.create("s")
    asked = "/api/v1/studies/s/importance"
    with monkeypatch.context() as broken:
        broken.setattr(api.fanova, "sample", lambda *_: 1 / 0)
        assert server.http.get(asked, params={"method": "fanova"}).status_code == 500

    with Client(server.url) as client:
        assert client.importance("s", method="fanova") == {}


@on_sqlite
def test_what_cannot_be_computed_is_refused(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.create("s")
    unknown = server.http.get("/api/v1/studies/s/importance", params={"method": "anova"})
    monkeypatch.setattr(api.fanova, "find_spec", lambda _: None)
    lacking = server.http.get("/api/v1/studies/s/importance", params={"method": "fanova"})

    assert (unknown.status_code, lacking.status_code) == (422, 422)
    assert "pip install scikit-learn" in lacking.text
