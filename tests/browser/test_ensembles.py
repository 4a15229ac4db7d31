"""Ensembles on the study page: listed beside their best members, ordered by a button."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from store.artifacts import Artifacts
from store.models import StudyRow, TaskRow
from store.session import writes
from store.tasks import Tasks
from tests.browser.conftest import Visitor

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_an_ensemble_stands_beside_its_best_member_and_one_that_cannot_be_built_says_why(visitor: Visitor) -> None:
    with writes(visitor.site.engine).begin() as session:
        study = session.scalars(select(StudyRow).where(StudyRow.name == "adult-mlp")).one()
        request = {"method": "greedy", "rounds": 30, "seed": 0, "members": [{"trial": 5, "attempt": 1}]}
        task = Tasks(session, study).add("ensemble", request, NOW)
        key = (study.id, task.number)
    Artifacts(visitor.site.settings.artifacts).task(*key).write("ensemble.json", b"x" * 3072)
    page = visitor.open("/studies/adult-mlp")
    row = page.locator("#ensemble-rows tr").first
    expect(row).to_contain_text("queued")

    with writes(visitor.site.engine).begin() as session:
        done = session.get_one(TaskRow, key)
        done.state, done.ended_at = "COMPLETE", NOW
        done.result = {
            "members": [{"trial": 5, "weight": 0.75}, {"trial": 7, "weight": 0.25}],
            "metrics": {"val/accuracy": 0.871, "test/accuracy": 0.862},
            "best_member": {"trial": 5, "metrics": {"val/accuracy": 0.866, "test/accuracy": 0.855}},
            "parameters": {"ensemble": 300, "best_member": 100},
            "latency_ms": {"ensemble": 0.5, "best_member": 0.25},
        }
    expect(row).to_contain_text("complete")  # without a reload
    shown = "".join(row.locator("td").all_inner_texts())
    assert [figure in shown for figure in ("0.8710", "0.8660", "0.8620", "0.8550", "3.0×", "2.0×")] == [True] * 6
    assert row.get_by_role("link").get_attribute("href") == "/api/v1/studies/adult-mlp/ensembles/1/model"

    page.locator("summary").click()
    expect(page.locator("#storage")).to_have_text("Its files take 3 KiB: ensembles 3 KiB.")

    page.locator("#build").click()
    expect(page.locator("#said")).to_contain_text("needs at least two complete trials whose model")
    assert [each for each in visitor.complaints if "409" not in each] == []
    visitor.complaints.clear()  # the refusal that was asked for


@pytest.fixture
def refitted(visitor: Visitor) -> Iterator[None]:
    """The study of the site, while its file asks for a refit."""

    def ask_for(refit: dict[str, int] | None) -> None:
        with writes(visitor.site.engine).begin() as session:
            study = session.scalars(select(StudyRow).where(StudyRow.name == "adult-mlp")).one()
            plain = {key: value for key, value in study.definition.items() if key != "refit"}
            study.definition = plain | ({"refit": refit} if refit else {})

    ask_for({"seeds": 1})
    yield
    ask_for(None)


@pytest.mark.usefixtures("refitted")
def test_the_studys_own_refit_appears_without_a_reload_and_without_validation_figures(visitor: Visitor) -> None:
    page = visitor.open("/studies/adult-mlp")
    expect(page.locator("#ensembles")).to_be_visible()

    with writes(visitor.site.engine).begin() as session:
        study = session.scalars(select(StudyRow).where(StudyRow.name == "adult-mlp")).one()
        request = {"method": "refit", "rounds": 1, "seed": 0, "members": [{"trial": 5, "attempt": 1}], "own": True}
        task = Tasks(session, study).add("ensemble", request, NOW)
        task.state, task.ended_at = "COMPLETE", NOW
        task.result = {
            "members": [{"trial": None, "weight": 1.0}],
            "metrics": {"test/accuracy": 0.859},
            "best_member": {"trial": 5, "metrics": {"val/accuracy": 0.866, "test/accuracy": 0.855}},
            "parameters": {"ensemble": 100, "best_member": 100},
            "latency_ms": {"ensemble": 0.25, "best_member": 0.25},
        }

    row = page.locator("#ensemble-rows tr", has_text="refit").first
    expect(row).to_contain_text("0.8590", timeout=15_000)
    assert row.locator("td").all_inner_texts()[4:8] == ["–", "0.8660", "0.8590", "0.8550"]
