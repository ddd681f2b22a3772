"""Nothing that a visitor sends becomes a part of the page: names, file names, types and headers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, expect

from tests.e2e.browser.conftest import Site
from tests.e2e.browser.test_flows import row, sign_in, upload
from tests.support.browser import Visit, visit
from tests.support.product import running_product

SCRIPTS = [
    "<script>alert(1)<script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "]]><!--<style>*{display:none}",
    "&lt;b&gt;&#x3c;",
]


@pytest.fixture
def alerts(visitor: Visit) -> list[str]:
    found: list[str] = []

    def note(dialog: Dialog) -> None:
        found.append(dialog.message)
        dialog.dismiss()

    visitor.page.on("dialog", note)
    return found


@pytest.mark.parametrize("attack", SCRIPTS)
def test_a_name_is_text(visitor: Visit, alerts: list[str], attack: str) -> None:
    sign_in(visitor.page, attack)
    expect(visitor.page.locator("#session-name")).to_have_text(attack)
    visitor.page.reload()
    expect(visitor.page.locator("#session-name")).to_have_text(attack)
    assert alerts == []


@pytest.mark.parametrize("attack", SCRIPTS)
def test_a_file_name_is_text(visitor: Visit, alerts: list[str], file: Callable[..., Path], attack: str) -> None:
    page = visitor.page
    name = attack.replace("/", "_")
    upload(page, file(name))
    expect(row(page, name)).to_be_visible()
    upload(page, file(name, b"other"))
    expect(page.locator("#conflict-name")).to_have_text(name)
    page.get_by_role("button", name="Skip").click()
    expect(page.locator("#uploads")).to_contain_text("skipped")  # until then the page asks before it is left
    page.reload()
    expect(row(page, name)).to_be_visible()
    row(page, name).hover()
    page.get_by_role("button", name=f"Delete {name}").click()
    expect(page.locator(".undo .name")).to_have_text(name)
    assert page.locator("#file-list [onerror], #file-list [onload], #file-list [onmouseover]").count() == 0
    assert alerts == []


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml"])
def test_a_file_runs_nothing_when_it_is_opened(visitor: Visit, alerts: list[str], content_type: str) -> None:
    script = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    answer = visitor.context.request.put("/api/files/page", data=script, headers={"Content-Type": content_type})
    assert answer.ok
    with visitor.page.expect_download():
        visitor.page.evaluate("location.href = '/api/files/page'")
    assert alerts == []


@pytest.mark.parametrize("attack", ["<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>'])
def test_a_header_is_not_part_of_a_page(visitor: Visit, alerts: list[str], attack: str) -> None:
    names = ("User-Agent", "Accept-Language", "traceparent", "X-Cloud-Trace-Context", "X-Request-Id")
    forwarded = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded")
    visitor.watch.expect("404")
    # On the requests for pages only: the page's own must stay as they are.
    hostile = dict.fromkeys((*names, *forwarded), attack)
    visitor.page.route(
        lambda url: url.endswith(("/", "/none")),
        lambda route: route.continue_(headers=route.request.headers | hostile),
    )
    for path in ("/", "/none"):
        answer = visitor.page.goto(path)
        assert answer is not None
        assert answer.request.all_headers()["x-forwarded-host"] == attack, "it was not sent"
        assert "onerror" not in answer.text()
        assert "onload" not in answer.text()
        # A browser makes its own Referer.
        plain = visitor.context.request.get(path, headers={"Referer": attack, "Accept": "text/html"}).text()
        assert "<h1" in plain
        assert attack not in plain
    assert alerts == []


def test_the_name_of_an_instance_is_text(browser: Browser, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)> é"
    with running_product(tmp_path, INSTANCE=hostile, REVISION=hostile, VERSION=hostile) as service:
        with visit(browser, service.app_url) as visitor:
            expect(visitor.page.locator("#instance-name")).to_have_text(hostile)
            expect(visitor.page.locator("#legend")).to_contain_text(hostile)
            expect(visitor.page.locator("#instance-version")).to_have_text(hostile)


def test_another_site_can_send_no_form(browser: Browser, site: Site, visitor: Visit, tmp_path: Path) -> None:
    """A page of another origin posts to ours with the visitor's cookie, as far as a browser lets it."""
    sign_in(visitor.page, "Ada")
    expect(visitor.page.get_by_text("Signed in as Ada")).to_be_visible()
    page = visitor.context.new_page()
    page.route(
        "http://evil.example.org/",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f"<form method=post action='{site.url}/forms/sign-out'><button>Win a prize</button></form>",
        ),
    )
    visitor.watch.expect("403", "favicon", "net::ERR_")
    page.goto("http://evil.example.org/")
    with page.expect_response("**/forms/sign-out") as answer:
        page.get_by_role("button").click()
    assert answer.value.status == 403
    visitor.page.reload()
    expect(visitor.page.get_by_text("Signed in as Ada")).to_be_visible()
