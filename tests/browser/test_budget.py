"""The budget of a study, changed on its page."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.api_server import definition, scheduling
from tests.browser.conftest import serving
from trialyard.client import Client


def test_a_budget_is_changed_and_a_refusal_is_told_where_it_was_written(
    browser: Browser, redis_service: str, tmp_path: Path
) -> None:
    with serving(tmp_path, redis_service) as site, scheduling(site.settings, site.engine), Client(site.url) as client:
        client.create_study(definition(budget={"trials": 1}))
        [handout] = client.ask("s", "w1")
        client.tell("s", handout, "complete", {"val/loss": 0.5})
        page = browser.new_page()
        page.goto(f"{site.url}/studies/s")
        expect(page.locator("#state")).to_have_text("complete")

        page.get_by_role("button", name="Budget…").click()
        trials, refusal = page.get_by_role("textbox", name="Trials"), page.locator("#budget-refused")
        expect(trials).to_have_value("1")
        trials.fill("many")
        page.get_by_role("textbox", name="Time").fill("soon")
        page.get_by_role("button", name="Change it").click()
        expect(refusal).to_contain_text("budget.trials")
        expect(refusal).to_contain_text("budget.timeout")

        trials.fill("3")
        page.get_by_role("textbox", name="Time").fill("2h")
        page.keyboard.press("Enter")
        expect(page.locator("#budget")).to_be_hidden()
        expect(page.locator("#done")).to_contain_text("of 3")
        expect(page.locator("#state")).to_have_text("running")
        assert client.study("s").definition["budget"]["trials"] == 3

        page.get_by_role("button", name="Budget…").click()
        page.get_by_role("textbox", name="Time").fill("")
        page.keyboard.press("Escape")  # nothing is changed
        expect(page.locator("#budget")).to_be_hidden()
        assert client.study("s").definition["budget"].get("timeout") is not None
        page.context.close()
