"""What a person moves on the page, and what the page says when its study, or the key, is gone."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect
from sqlalchemy import delete

from store.models import ReportRow, StudyRow, StudyState, TrialRow
from store.session import writes
from tests.api_server import definition, scheduling
from tests.browser import seed
from tests.browser.conftest import Visitor, serving
from trialyard.client import Client

DRAWN_LOSS = """() => {
    const traces = [...document.querySelectorAll(".js-plotly-plot")].flatMap(plot => plot.data);
    const loss = traces.find(trace => trace.name === "loss");
    return [loss?.x ?? [], loss?.y ?? []];
}"""


def test_a_failed_trial_is_retried_and_an_open_one_cancelled_once_that_is_confirmed(
    browser: Browser, redis_service: str, tmp_path: Path
) -> None:
    with serving(tmp_path, redis_service) as site, scheduling(site.settings, site.engine), Client(site.url) as client:
        client.create_study(definition())
        [handout] = client.ask("s", "w1")
        client.tell("s", handout, "failed", reason="out of luck")
        page = browser.new_page()
        page.goto(f"{site.url}/studies/s/trials/{handout.number}")
        expect(page.locator("#state")).to_have_text("failed")
        expect(page.get_by_role("button", name="Cancel…")).to_be_hidden()

        page.get_by_role("button", name="Retry").click()
        expect(page.locator("#state")).not_to_have_text("failed")

        page.get_by_role("button", name="Cancel…").click()
        page.keyboard.press("Escape")
        assert client.trial("s", handout.number).state != "CANCELLED"
        page.get_by_role("button", name="Cancel…").click()
        page.get_by_role("button", name="Cancel the trial").click()
        expect(page.locator("#state")).to_have_text("cancelled")
        expect(page.get_by_role("button", name="Retry")).to_be_visible()
        page.context.close()


def test_escape_is_no_answer_after_a_yes_that_the_server_did_not_hear(visitor: Visitor) -> None:
    with writes(visitor.site.engine).begin() as session:
        seed.bare_study(session, "escaped", StudyState.RUNNING, 1)
    page = visitor.open("/studies/escaped")
    asked: list[str] = []
    page.route("**/escaped/cancel", lambda route: (asked.append("cancel"), route.fulfill(status=503, json={}))[1])
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel the study").click()
    expect(page.locator("#said")).to_contain_text("Could not cancel")

    page.get_by_role("button", name="Cancel…").click()
    page.keyboard.press("Escape")
    expect(page.locator("#sure")).to_be_hidden()
    page.wait_for_timeout(200)

    assert asked == ["cancel"]
    assert any("503" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


def test_a_study_that_has_ended_is_deleted_once_that_is_confirmed(visitor: Visitor) -> None:
    with writes(visitor.site.engine).begin() as session:
        seed.Author(session, seed.definition("to-delete", trials=4), 5).finish(4, hours_ago=1)
    page = visitor.open("/studies/to-delete")

    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete the study").click()

    page.wait_for_url(visitor.site.url + "/")
    expect(page.get_by_role("link", name="to-delete")).to_have_count(0)


def test_a_page_says_that_its_study_has_been_deleted_or_that_another_has_its_name(visitor: Visitor) -> None:
    for name in ("vanishes", "begun-anew"):
        with writes(visitor.site.engine).begin() as session:
            seed.bare_study(session, name, StudyState.RUNNING, 1)
    gone, renewed = visitor.open("/studies/vanishes"), visitor.open("/studies/begun-anew")
    for page in (gone, renewed):
        expect(page.locator("#live")).to_have_text("Live")

    with writes(visitor.site.engine).begin() as session:
        session.execute(delete(StudyRow).where(StudyRow.name.in_(["vanishes", "begun-anew"])))
        seed.bare_study(session, "begun-anew", StudyState.RUNNING, 0)

    expect(gone.get_by_role("alert")).to_contain_text("This study has been deleted", timeout=30_000)
    expect(gone.get_by_role("button", name="Pause")).to_be_hidden()
    expect(renewed.get_by_role("alert")).to_contain_text("another one has its name", timeout=30_000)
    assert any("404" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


def test_a_page_whose_key_is_no_longer_good_leads_to_the_sign_in(visitor: Visitor) -> None:
    for path in ("/", "/workers"):
        page = visitor.open(path)
        page.route("**/api/v1/**", lambda route: route.fulfill(status=401, json={"detail": "this server wants a key"}))
        expect(page.get_by_role("link", name="Sign in again")).to_have_attribute("href", path)
    assert all("401" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


def test_a_button_pressed_without_a_good_key_leads_to_the_sign_in(visitor: Visitor) -> None:
    with writes(visitor.site.engine).begin() as session:
        seed.bare_study(session, "revoked", StudyState.RUNNING, 1)
    page = visitor.open("/studies/revoked")
    page.route("**/revoked/pause", lambda route: route.fulfill(status=401, json={"detail": "no such key"}))

    page.get_by_role("button", name="Pause").click()

    expect(page.get_by_role("link", name="Sign in again")).to_have_attribute("href", "/studies/revoked")
    expect(page.locator("#state")).to_have_text("running")
    assert any("401" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


def test_the_log_does_not_wait_for_the_reports_and_a_long_curve_keeps_its_spikes(visitor: Visitor) -> None:
    steps = 30_000
    with writes(visitor.site.engine).begin() as session:
        author = seed.Author(session, seed.definition("long-mlp", trials=1), 1)
        author.begin(0, running=1, hours_ago=0.1)
        key = {"study_id": author.study.id, "number": 0, "attempt": 1, "at": author.now}
        rows = [{**key, "step": step, "metrics": {"loss": 9.0 if step == 12_345 else 1.0}} for step in range(50, steps)]
        session.execute(ReportRow.__table__.insert(), rows)  # type: ignore[attr-defined]
        session.get_one(TrialRow, (author.study.id, 0)).step = steps - 1
    page = visitor.site.url + "/studies/long-mlp/trials/0"
    tab = visitor.open("/workers")
    tab.route("**/trials/0/reports?*cursor*", lambda _: None)  # never answered
    tab.goto(page)
    expect(tab.locator("#no-log")).to_have_text("Nothing logged yet.")
    expect(tab.locator("#curves .js-plotly-plot").first).to_be_visible()

    tab = visitor.open("/studies/long-mlp/trials/0")
    for _ in range(300):
        steps_drawn, values = tab.evaluate(DRAWN_LOSS)
        if steps_drawn and steps_drawn[-1] == steps - 1:
            break
        tab.wait_for_timeout(100)
    assert steps_drawn[-1] == steps - 1
    assert len(steps_drawn) <= 2001
    assert max(values) == 9
