"""The page without JavaScript: its forms do the work, on two instances."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser.conftest import Site
from tests.support.browser import Visit, visit

MakeFile = Callable[..., Path]


@pytest.fixture
def plain(browser: Browser, site: Site) -> Iterator[Visit]:
    with visit(browser, site.url, java_script_enabled=False) as visitor:
        visitor.watch.expect(r"\.js: csp")  # so Chromium calls what it does not load without scripts
        yield visitor


def send(visitor: Visit, *paths: Path, replace: bool = False) -> None:
    if replace:
        visitor.page.get_by_label("Replace files of the same name").check()
    visitor.page.locator("#chosen").set_input_files(list(paths))
    visitor.page.get_by_role("button", name="Upload").click()


def test_the_session(plain: Visit) -> None:
    page = plain.page
    expect(page.get_by_text("Keep asking")).to_be_hidden()
    page.get_by_label("Your name").fill("Ada <i>")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Signed in as Ada <i>")).to_be_visible()
    page.get_by_role("button", name="Count a visit").click()
    page.get_by_role("button", name="Count a visit").click()
    expect(page.locator("#visits")).to_have_text("2")
    plain.shoot("without-script")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#visits")).to_have_text("0")


def test_the_files(plain: Visit, file: MakeFile) -> None:
    page = plain.page
    send(plain, file("one.txt", b"first"), file("zwei & ü.txt", b"second"))
    expect(page.locator("#file-list .file")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("link", name="zwei & ü.txt").click()
    assert download.value.path().read_bytes() == b"second"
    page.get_by_role("button", name="Delete one.txt").click()
    expect(page.locator("#file-list .file")).to_have_count(1)


def test_nothing_is_overwritten_unasked(plain: Visit, file: MakeFile) -> None:
    page = plain.page
    send(plain, file("one.txt", b"first"))
    plain.watch.expect("412")
    send(plain, file("new.txt", b"new"), file("one.txt", b"the second"))
    expect(page.get_by_role("heading")).to_have_text("412 Precondition Failed")
    expect(page.locator("main")).to_contain_text("one.txt: There is a file of this name already.")
    expect(page.locator("main")).to_contain_text("The files before it were kept: new.txt.")
    plain.shoot("error")
    page.get_by_role("link", name="Back to the start").click()
    expect(page.locator("#file-list")).to_contain_text("5 Bytes")
    send(plain, file("one.txt", b"the second"), replace=True)
    expect(page.locator("#file-list")).to_contain_text("10 Bytes")


def test_a_gigabyte(plain: Visit, file: MakeFile) -> None:
    plain.context.set_default_timeout(120_000)
    send(plain, file("gigabyte.bin", size=2**30))
    expect(plain.page.locator("#file-list")).to_contain_text("1.0 GiB", timeout=120_000)
