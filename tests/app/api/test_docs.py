"""`/docs` in Chromium: everything on it comes from the service itself, and nothing breaks its policy."""

from playwright.sync_api import Page, expect

from tests.conftest import Service
from tests.support.browser import browser, page

__all__ = ["browser", "page"]


def test_the_page_shows_every_operation_and_tries_one_without_another_host(page: Page, service: Service) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    answer = page.goto(f"{service.url}/docs")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    expect(page.locator(".opblock")).not_to_have_count(0)
    page.locator("#operations-catalogue-listModels button.opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert all(url.startswith((f"{service.url}/", "data:", "blob:")) for url in asked)
    assert not said
