"""The learning curves: of a page that stays open, and how those look that came to no end."""

from __future__ import annotations

from datetime import UTC, datetime

from playwright.sync_api import expect
from sqlalchemy import select, update

from store.bus import events_channel
from store.models import EventRow, StudyRow, TrialRow
from store.session import writes
from tests.browser.conftest import Site, Visitor
from tests.browser.test_analysis import looked_at
from tests.browser.test_scales import LOSS, write_study


def let_trials_come(site: Site, name: str, first: int, last: int) -> None:
    """Trials of one report each, as their events."""
    now = datetime.now(UTC)
    with writes(site.engine).begin() as session:
        study = session.scalars(select(StudyRow).where(StudyRow.name == name)).one()
        for number in range(first, last):
            metrics = {"val/loss": 0.0 if number == first else number / 1000}
            trial = {"number": number, "attempt": 1, "worker": "w", "parameters": {}, "metrics": metrics, "step": 1}
            report = {"number": number, "attempt": 1, "step": 1, "metrics": metrics}
            for kind, body in (
                ("trial", trial | {"state": "RUNNING"}),
                ("report", report),
                ("trial", trial | {"state": "COMPLETE", "values": metrics}),
            ):
                study.last_event += 1
                key = {"study_id": study.id, "sequence": study.last_event}
                session.add(EventRow(**key, kind=kind, body=body, at=now))
        sequence = study.last_event
    site.redis.publish(events_channel(study.id), sequence)


def test_a_page_that_stays_open_does_not_draw_ever_more_curves(visitor: Visitor) -> None:
    write_study(visitor.site, "open-for-long", LOSS, [{"val/loss": 1 + number / 1000} for number in range(200)])
    page = visitor.open("/studies/open-for-long")
    expect(page.locator("#curves.js-plotly-plot")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Live")

    let_trials_come(visitor.site, "open-for-long", 200, 350)

    expect(page.locator("#done")).to_have_text("350of 350")
    expect(page.locator("#curves-caption")).to_contain_text("of 350 curves")
    drawn = page.evaluate("[...new Set(document.querySelector('#curves').data.flatMap(({customdata}) => customdata))]")
    assert len(set(drawn) - {None}) <= 200
    assert 200 in drawn  # the best one


def test_a_curve_that_waits_at_a_rung_is_not_taken_for_one_that_came_to_its_end(visitor: Visitor) -> None:
    write_study(visitor.site, "waits", LOSS, [{"val/loss": value} for value in (0.1, 0.2, 0.3)])
    with writes(visitor.site.engine).begin() as session:
        of_study = TrialRow.study_id == select(StudyRow.id).where(StudyRow.name == "waits").scalar_subquery()
        for number, state in ((1, "PAUSED"), (2, "CANCELLED")):
            held = {"state": state, "values": None, "ended_at": TrialRow.ended_at if state == "CANCELLED" else None}
            session.execute(update(TrialRow).where(of_study, TrialRow.number == number).values(**held))

    page = visitor.open("/studies/waits")
    caption = page.locator("#curves-caption")
    expect(caption).to_contain_text("best, trial 0")
    expect(caption).to_contain_text("paused, cancelled")
    expect(caption).not_to_contain_text("complete")
    # Where most trials wait, as under asha while it runs, they are the search that there is to see.
    expect(page.locator("#history-legend")).to_contain_text("paused")
    looked_at(page, "#analysis", "#slices")
    expect(page.locator("#slices-caption")).to_contain_text("At their last value: squares wait at a rung.")
    for figure in ("history", "slices"):
        points = page.evaluate(
            f"document.querySelector('#{figure}').data.flatMap(({{customdata}}) => customdata ?? [])"
        )
        assert {0, 1} <= set(points)
