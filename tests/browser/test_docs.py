"""The page of the API's operations in a real browser."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Visitor


def test_the_docs_page_shows_every_operation_without_asking_another_host(visitor: Visitor) -> None:
    page = visitor.open("/docs")

    expect(page.get_by_role("heading", name="Trialyard")).to_be_visible()
    document = page.request.get(f"{visitor.site.url}/openapi.json").json()
    operations = sum(len(path) for path in document["paths"].values())
    expect(page.locator(".opblock")).to_have_count(operations)

    page.locator("#operations .opblock", has_text="/api/v1/studies/{name}/ask").locator(".opblock-summary").click()
    expect(page.get_by_text("Hand out up to").first).to_be_visible()
    expect(page.locator(".opblock-body").get_by_text("worker").first).to_be_visible()
