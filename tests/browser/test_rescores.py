"""Re-scored trials on the study page: beside what the search saw, the best by their new value first."""

from __future__ import annotations

from datetime import UTC, datetime

from playwright.sync_api import expect
from sqlalchemy import select

from store.models import StudyRow
from store.session import writes
from store.tasks import Tasks
from tests.browser.conftest import Visitor

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_other_seeds_say_stands_beside_what_was_searched(visitor: Visitor) -> None:
    with writes(visitor.site.engine).begin() as session:
        study = session.scalars(select(StudyRow).where(StudyRow.name == "adult-mlp")).one()
        for trial, searched, mean in ((5, 0.91, 0.85), (7, 0.9, 0.88)):
            request = {"number": trial, "seeds": 5, "searched": searched, "metric": "val/accuracy"}
            task = Tasks(session, study).add("rescore", request, NOW)
            task.state, task.ended_at = "COMPLETE", NOW
            task.result = {"metrics": {"val/accuracy": mean, "val/accuracy_se": 0.002}}

        for heat, trial, mean in ((1, 3, 0.8), (1, 9, 0.7), (2, 3, 0.81)):  # a study's own race: 9 was behind
            request = {"number": trial, "seeds": 3, "searched": 0.9, "metric": "val/accuracy", "heat": heat}
            task = Tasks(session, study).add("rescore", request, NOW)
            task.state, task.ended_at = "COMPLETE", NOW
            task.result = {"metrics": {"val/accuracy": mean, "val/accuracy_se": 0.002}}

    rows = visitor.open("/studies/adult-mlp").locator("#rescore-rows tr")

    expect(rows).to_have_count(4)
    assert [row.split("\t")[:4] for row in rows.all_inner_texts()] == [
        ["trial 3", "0.9000", "0.8100", "0.0020"], ["trial 9", "0.9000", "0.7000", "0.0020"],
        ["trial 7", "0.9000", "0.8800", "0.0020"], ["trial 5", "0.9100", "0.8500", "0.0020"],
    ]  # fmt: skip
    expect(rows.nth(1)).to_contain_text("clearly behind the best")
