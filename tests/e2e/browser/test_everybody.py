"""The page for everybody: with a keyboard, a screen reader, any screen, any colours, and little bandwidth."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Response, expect

from tests.e2e.browser.conftest import Site
from tests.e2e.browser.test_flows import row, sign_in, upload
from tests.support.browser import Visit, visit
from tests.support.service import PROJECT

KIB = 1024


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script (https://github.com/dequelabs/axe-core)."""
    done = subprocess.run([PROJECT / "scripts" / "axe.sh"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip()).read_text(encoding="utf-8")


@pytest.fixture(params=["light", "dark"])
def coloured(request: pytest.FixtureRequest, browser: Browser, site: Site) -> Iterator[Visit]:
    """A visitor who likes the one or the other."""
    with visit(browser, site.url, color_scheme=request.param) as visitor:
        yield visitor


def violations(visitor: Visit, axe: str) -> list[Any]:
    """What axe finds, each rule with the elements."""
    visitor.page.evaluate(axe)
    found: dict[str, Any] = visitor.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 15, "axe looked at next to nothing"
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]


def test_axe_finds_nothing(coloured: Visit, axe: str, file: Callable[..., Path]) -> None:
    page = coloured.page
    expect(page.locator("#strip li").nth(1)).to_be_visible()
    assert violations(coloured, axe) == []
    sign_in(page, "Ada")
    upload(page, file("one.txt"), file("two.txt"))
    expect(page.locator("#file-list .file")).to_have_count(2)
    page.get_by_role("button", name="Delete one.txt").click()
    coloured.watch.expect("400")
    upload(page, file("line\nbreak.txt"))
    expect(page.locator("#uploads")).to_contain_text("control characters")
    assert violations(coloured, axe) == []
    scheme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    coloured.shoot(f"everything-{scheme}")
    upload(page, file("two.txt", b"other"))
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(coloured, axe) == []
    page.keyboard.press("Escape")
    expect(page.locator("#uploads")).to_contain_text("skipped")


def test_axe_sees_what_is_wrong(visitor: Visit, axe: str) -> None:
    visitor.page.evaluate("document.querySelector('#visitor-name').labels[0].remove()")
    assert "label" in [rule for rule, _ in violations(visitor, axe)]


def test_everything_can_be_done_with_the_keyboard(visitor: Visit, file: Callable[..., Path]) -> None:
    page = visitor.page

    def go_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(document.activeElement.ariaLabel ?? '') + '|' + document.activeElement.innerText + '|'"
                " + (document.activeElement.labels?.[0]?.innerText ?? '')"
            )
            if name in focused:
                assert page.evaluate("document.activeElement.matches(':focus-visible')")
                return
        raise AssertionError(f"no way to {name!r}")

    # From the beginning: the browser is not asked in time to hand over a chooser that opens at once.
    page.on("filechooser", lambda chooser: chooser.set_files(file("keys.txt")))
    go_to("Skip to the files")
    go_to("Keep asking")
    page.keyboard.press("Space")
    expect(page.locator("#connection")).to_have_text("Not asking.")
    go_to("Your name")
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Signed in as Ada")).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_be_focused()
    go_to("Count a visit")
    page.keyboard.press("Enter")
    expect(page.locator("#visits")).to_have_text("1")
    go_to("Choose files")
    page.keyboard.press("Enter")
    expect(row(page, "keys.txt")).to_be_visible()
    go_to("Delete keys.txt")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Undo deleting keys.txt")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row(page, "keys.txt")).to_be_visible()


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (768, 1024), (1366, 768), (3840, 2160)])
def test_every_screen_shows_it_without_scrolling_sideways(
    browser: Browser, site: Site, file: Callable[..., Path], width: int, height: int
) -> None:
    with visit(browser, site.url, viewport={"width": width, "height": height}) as visitor:
        page = visitor.page
        sign_in(page, "שלום " + "W" * 90)
        upload(page, file("a" * 200 + ".txt"), file("مرحبا بالعالم.txt"))
        expect(page.locator("#file-list .file")).to_have_count(2)
        expect(page.locator("#strip li").nth(2)).to_be_visible()
        visitor.shoot(f"screen-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width >= 1366:
            assert page.evaluate("document.querySelector('#numbers h2').getBoundingClientRect().bottom") < height
        smallest = page.evaluate(
            "Math.min(...[...document.querySelectorAll('button, .choose')].filter(e => e.offsetParent)"
            ".map(e => e.getBoundingClientRect().height))"
        )
        assert smallest >= 24  # WCAG 2.2, 2.5.8


def test_nothing_moves_for_those_who_want_that(browser: Browser, site: Site) -> None:
    moving = (
        "[...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration) > 0).length"
    )
    with visit(browser, site.url, reduced_motion="reduce") as visitor:
        assert visitor.page.evaluate(moving) == 0
    with visit(browser, site.url, reduced_motion="no-preference") as visitor:
        assert visitor.page.evaluate(moving) > 0


def test_the_whole_page_is_light(browser: Browser, site: Site) -> None:
    """At most 40 KiB over the wire, 120 KiB as they are, and nothing that is found out only after the HTML has come."""
    responses: list[Response] = []

    def note(response: Response) -> None:
        responses.append(response)

    with browser.new_context(base_url=site.url) as context:
        page = context.new_page()
        page.on("response", note)
        page.goto("/", wait_until="load")
        of_page = [response for response in responses if "/api/" not in response.url]
        sizes = [response.request.sizes() for response in of_page]
        wire = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
        plain = sum(len(response.body()) for response in of_page)
        html = of_page[0].text()
        print(f"{len(of_page)} files, {wire / KIB:.1f} KiB over the wire, {plain / KIB:.1f} KiB as they are")
        assert wire <= 40 * KIB
        assert plain <= 120 * KIB
        assert len(of_page) > 3
        assert [response.url for response in of_page[1:] if response.url.removeprefix(site.url) not in html] == []
        page.goto("/", wait_until="load")
        fetched = (
            "performance.getEntriesByType('resource').filter(e => e.name.includes('/static/')).map(e => e.transferSize)"
        )
        assert set(page.evaluate(fetched)) == {0}, "what is kept for a year was asked for again"
