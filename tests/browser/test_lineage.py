"""A population on its study's page and on a member's: who went on from whom, and the schedules that came of it. The
same over REST.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from search.definition import parse
from store.models import AttemptRow, CopyRow, StudyRow, TrialRow
from store.session import writes
from tests.browser.conftest import Site, Visitor

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOCUMENT: dict[str, Any] = {
    "name": "evolved",
    "objective": {"metric": "val/accuracy", "direction": "maximize"},
    "parameters": {
        "optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True},
        "regularization.dropout": {"low": 0.0, "high": 0.5},
        "batch_size": {"value": 64},
    },
    "sampler": {"name": "pbt", "population_size": 2, "perturbation_interval": 2, "seed": 7},
    "trial": {"kind": "train", "data": {"source": "sklearn:digits"}, "epochs": 6},
}
FIRST = {"optimizer.lr": 0.05, "regularization.dropout": 0.1, "batch_size": 64}
SECOND = {"optimizer.lr": 0.002, "regularization.dropout": 0.4, "batch_size": 64}
AFTER = SECOND | {"optimizer.lr": 0.0025}


def write_population(session: Session) -> None:
    """Trial 0 came to 0.7 in two steps, and went on from trial 1, which had come to 0.9 in four."""
    definition = parse(DOCUMENT).document()
    study = StudyRow(name="evolved", state="COMPLETE", definition=definition, created_at=NOW, ended_at=NOW)
    session.add(study)
    session.flush()
    at: dict[str, Any] = {"created_at": NOW, "started_at": NOW, "ended_at": NOW}
    for number, parameters, value in ((0, AFTER, 0.95), (1, SECOND, 0.93)):
        values = {"val/accuracy": value}
        of_trial = {"state": "COMPLETE", "system_attrs": {}, "values": values, "metrics": values, "step": 6}
        session.add(TrialRow(study_id=study.id, number=number, parameters=parameters, **of_trial, **at))
    session.flush()
    for number in (0, 1):
        for attempt in (1, 2):
            ended = {"started_at": NOW, "ended_at": NOW, "outcome": "paused" if attempt == 1 else "finished"}
            session.add(
                AttemptRow(study_id=study.id, number=number, attempt=attempt, worker="w", device="cpu", **ended)
            )
    session.flush()
    copy = {"step": 2, "value": 0.7, "source": 1, "source_attempt": 1, "source_step": 4, "source_value": 0.9}
    session.add(CopyRow(study_id=study.id, number=0, turn=1, before=FIRST, after=AFTER, at=NOW, **copy))


@pytest.fixture
def evolved(site: Site) -> Site:
    with writes(site.engine).begin() as session:
        if session.query(StudyRow).filter_by(name="evolved").first() is None:
            write_population(session)
    return site


def lines_of(page: Page) -> list[dict[str, Any]]:
    """What Plotly drew: the members' lines, the best one last, then the copies."""
    expect(page.locator("#lineage .scatterlayer .trace")).to_have_count(3)
    drawn = page.evaluate("document.querySelector('#lineage').data.map(({x, y, mode}) => ({x, y, mode}))")
    found: list[dict[str, Any]] = drawn
    return found


def test_the_study_page_draws_a_parameter_of_each_member_over_its_steps(evolved: Site, visitor: Visitor) -> None:
    page = visitor.open("/studies/evolved")

    assert lines_of(page) == [
        {"x": [0, 6], "y": [0.002, 0.002], "mode": "lines"},
        {"x": [0, 2, 4, 6], "y": [0.05, 0.05, 0.0025, 0.0025], "mode": "lines"},
        {"x": [4], "y": [0.0025], "mode": "markers"},
    ]
    caption = "2 members. A point is where one went on from another's checkpoint: 1 so far."
    expect(page.locator("#lineage-caption")).to_contain_text(caption)
    assert page.locator("#lineage-parameter option").all_inner_texts() == ["optimizer.lr", "regularization.dropout"]
    page.locator("#lineage-parameter").select_option("regularization.dropout")
    expect(page.locator("#lineage")).to_contain_text("regularization.dropout")
    assert [line["y"] for line in lines_of(page)][1] == [0.1, 0.1, 0.4, 0.4]
    expect(page.locator("#rescores")).to_be_hidden()


def test_a_members_page_tells_whom_it_went_on_from_and_what_changed(evolved: Site, visitor: Visitor) -> None:
    page = visitor.open("/studies/evolved/trials/0")

    [row] = page.locator("#lineage tr").all_inner_texts()
    assert row.split("\t") == [
        "2", "0.7000", "trial 1", "4", "0.9000", "optimizer.lr 0.05 → 0.0025, regularization.dropout 0.1 → 0.4",
    ]  # fmt: skip
    other = visitor.open("/studies/evolved/trials/1")
    expect(other.locator("#no-lineage")).to_be_visible()


def test_the_lineage_is_in_the_api_and_in_the_export(evolved: Site) -> None:
    with httpx.Client(base_url=f"{evolved.url}/api/v1/studies/evolved") as api:
        trial, members = api.get("/trials/0").json(), api.get("/lineage").json()["members"]
        exported = json.loads(api.get("/export", params={"format": "json"}).text)
        journal = api.get("/export", params={"format": "optuna"}).text
        listed = api.get("/trials").json()["items"]
        refused = api.post("/rescores", json={})

    [copy] = trial["lineage"]
    assert (copy["step"], copy["source"], copy["source_step"]) == (2, 1, 4)
    assert (copy["before"], copy["after"]) == (FIRST, AFTER)
    assert [each["lineage"] for each in exported["trials"]] == [[copy], []]
    assert [each["lineage"] for each in listed] == [[copy], []]
    user_attrs = [json.loads(line)["user_attrs"] for line in journal.splitlines() if "user_attrs" in line]
    assert [each.get("lineage") for each in user_attrs] == [[copy], None]
    assert members[0]["stretches"] == [
        {"begin": 0, "end": 2, "parameters": FIRST, "source": None},
        {"begin": 4, "end": 6, "parameters": AFTER, "source": 1},
    ]
    assert refused.status_code == 409
    assert "trained by schedules" in refused.json()["detail"]
