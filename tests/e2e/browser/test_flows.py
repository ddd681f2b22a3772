"""What a visitor does on the page, with a script: on two instances, Redis and object storage."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, CDPSession, Dialog, Locator, Page, expect

from tests.e2e.browser.conftest import Site
from tests.support.browser import Visit, visit
from tests.support.processes import wait_until

MakeFile = Callable[..., Path]


def slow_down(visitor: Visit, upload: int) -> CDPSession:
    """So many bytes a second go up from now on, until this is detached."""
    network = visitor.context.new_cdp_session(visitor.page)
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": upload}
    network.send("Network.emulateNetworkConditions", conditions)
    return network


def upload(page: Page, *paths: Path) -> None:
    page.locator("#chosen").set_input_files(list(paths))


def row(page: Page, name: str) -> Locator:
    return page.locator("#file-list .file").filter(has=page.get_by_text(name, exact=True))


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Sign in").click()


def test_both_instances_are_seen(visitor: Visit) -> None:
    page = visitor.page
    expect(page.locator("#strip li").nth(5)).to_be_visible()
    legend = page.get_by_role("list", name="Instances that answered")
    expect(legend).to_contain_text("east")
    expect(legend).to_contain_text("west")
    assert set(page.locator("#strip li").all_inner_texts()) == {"A", "B"}
    colours = {
        page.locator(f"#strip .hue-{hue}").first.evaluate("e => getComputedStyle(e).background") for hue in (0, 1)
    }
    assert len(colours) == 2
    assert "ms" in (page.locator("#strip li").first.get_attribute("title") or "")
    visitor.shoot("responses")


def test_asking_can_be_switched_off(visitor: Visit) -> None:
    page = visitor.page
    expect(page.locator("#strip li").first).to_be_visible()
    page.get_by_role("switch", name="Keep asking").uncheck()
    expect(page.locator("#connection")).to_have_text("Not asking.")
    with page.expect_request("**/api/status"):  # and the first question after that is of the switch
        page.get_by_role("switch", name="Keep asking").check()
    expect(page.locator("#connection")).to_have_text("")


def test_a_hidden_tab_does_not_ask(visitor: Visit) -> None:
    page = visitor.page
    expect(page.locator("#strip li").first).to_be_visible()
    asked = []
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", {configurable: true, get: () => true});
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)  # that nothing comes can only be seen by waiting
    assert len(asked) <= 1  # one may have been on its way
    page.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }")
    with page.expect_request("**/api/status"):
        pass


def test_a_session_from_sign_in_to_sign_out(visitor: Visit) -> None:
    page = visitor.page
    expect(page.locator("#session-created")).to_have_text("no session yet")
    sign_in(page, "Ada")
    expect(page.get_by_text("Signed in as Ada")).to_be_visible()
    for count in (1, 2, 3):
        page.get_by_role("button", name="Count a visit").click()
        expect(page.locator("#visits")).to_have_text(str(count))
    expect(page.locator("#session-store")).to_have_text("redis")
    expect(page.locator("#session-expires")).to_have_attribute("datetime", re.compile("^20.*Z$"))
    visitor.shoot("session")
    page.reload()
    expect(page.locator("#visits")).to_have_text("3")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Your name")).to_be_focused()
    expect(page.locator("#visits")).to_have_text("0")
    expect(page.locator("#session-created")).to_have_text("no session yet")


def test_a_session_that_was_ended_elsewhere_is_shown_as_it_is(visitor: Visit) -> None:
    page = visitor.page
    sign_in(page, "Ada")
    expect(page.get_by_text("Signed in as Ada")).to_be_visible()
    elsewhere = visitor.context.new_page()
    elsewhere.goto("/")
    elsewhere.get_by_role("button", name="Sign out").click()
    expect(elsewhere.get_by_label("Your name")).to_be_visible()
    page.get_by_role("button", name="Count a visit").click()
    expect(page.locator("#visits")).to_have_text("1")
    expect(page.get_by_label("Your name")).to_be_visible()


def test_files_go_up_are_listed_and_come_down(visitor: Visit, file: MakeFile) -> None:
    page = visitor.page
    expect(page.get_by_text("Nothing here yet.")).to_be_visible()
    names = ["plain.txt", "ü é.txt", "مرحبا.txt", "a & <b>.txt", "100 %25?#.txt", "back\\slash'\".txt"]
    upload(page, *(file(name, name.encode()) for name in names))
    expect(page.locator("#file-list .file")).to_have_count(len(names))
    expect(page.locator("#uploads li")).to_have_count(0)
    expect(page.locator("#session-created")).to_have_attribute("datetime", re.compile("^20"))
    expect(page.locator("#quota-text")).to_contain_text(f"{len(names)} of 1000 files")
    assert page.locator("#quota-bar").evaluate("bar => bar.value > 0 && bar.value < bar.max")
    for name in names:
        expect(row(page, name).locator(".sum")).to_have_text(re.compile("^[0-9a-f]{8}$"))
        with page.expect_download() as download:
            row(page, name).get_by_role("link").click()
        assert download.value.path().read_bytes() == name.encode()
    visitor.shoot("files")
    page.reload()
    assert sorted(page.locator("#file-list .name bdi").all_inner_texts()) == sorted(names)


def test_files_can_be_dropped(visitor: Visit) -> None:
    page = visitor.page
    dropped = page.evaluate_handle("""() => {
        const data = new DataTransfer();
        data.items.add(new File(["one"], "one.txt", {type: "text/plain"}));
        data.items.add(new File(["two"], "two.txt"));
        return data;
    }""")
    page.dispatch_event("#files", "dragover", {"dataTransfer": dropped})
    expect(page.locator("#files")).to_have_class("dropping")
    page.dispatch_event("#files", "drop", {"dataTransfer": dropped})
    expect(page.locator("#file-list .file")).to_have_count(2)
    expect(page.locator("#files")).not_to_have_class("dropping")


@pytest.mark.parametrize("choice", ["Replace", "Keep both", "Skip"])
def test_nothing_is_overwritten_unasked(visitor: Visit, file: MakeFile, choice: str) -> None:
    page = visitor.page
    upload(page, file("notes.txt", b"first"))
    expect(row(page, "notes.txt")).to_contain_text("5 Bytes")
    upload(page, file("notes.txt", b"the second"))
    dialog = page.get_by_role("dialog", name="There is a file of this name")
    expect(dialog).to_contain_text("notes.txt")
    expect(dialog).to_contain_text("10 Bytes")
    visitor.shoot("conflict")
    dialog.get_by_role("button", name=choice, exact=True).click()
    if choice == "Replace":
        expect(row(page, "notes.txt")).to_contain_text("10 Bytes")
    elif choice == "Keep both":
        expect(row(page, "notes (2).txt")).to_contain_text("10 Bytes")
        expect(row(page, "notes.txt")).to_contain_text("5 Bytes")
    else:
        expect(page.locator("#uploads")).to_contain_text("skipped")
        expect(row(page, "notes.txt")).to_contain_text("5 Bytes")
        page.get_by_role("button", name="Dismiss notes.txt").click()
        expect(page.locator("#uploads li")).to_have_count(0)


def test_a_file_that_comes_between_is_asked_about(visitor: Visit, file: MakeFile) -> None:
    """The page had looked, and nothing was there: the service's 412 is what holds."""
    page = visitor.page
    page.route("**/api/files/race.txt", lambda route: _race(visitor, route), times=1)
    upload(page, file("race.txt", b"mine"))
    visitor.watch.expect("412")
    dialog = page.get_by_role("dialog", name="There is a file of this name")
    expect(dialog).to_contain_text("race.txt")
    dialog.get_by_role("button", name="Keep both").click()
    expect(row(page, "race (2).txt")).to_contain_text("4 Bytes")
    expect(row(page, "race.txt")).to_contain_text("6 Bytes")


def _race(visitor: Visit, route: object) -> None:
    answer = visitor.context.request.put("/api/files/race.txt", data=b"theirs")
    assert answer.status == 201
    route.continue_()  # type: ignore[attr-defined] # a Route


def test_deleting_can_be_undone(visitor: Visit, file: MakeFile) -> None:
    page = visitor.page
    upload(page, file("keep.txt"), file("drop.txt"))
    expect(page.locator("#file-list .file")).to_have_count(2)
    page.get_by_role("button", name="Delete keep.txt").click()
    undo = page.get_by_role("button", name="Undo deleting keep.txt")
    expect(undo).to_be_focused()
    visitor.shoot("undo")
    undo.click()
    expect(page.get_by_role("button", name="Delete keep.txt")).to_be_focused()
    page.get_by_role("button", name="Delete drop.txt").click()
    expect(page.locator("#said")).to_have_text("drop.txt is deleted.")
    expect(page.locator("#file-list > li")).to_have_count(1)
    page.reload()
    assert page.locator("#file-list .name bdi").all_inner_texts() == ["keep.txt"]


def test_leaving_the_page_completes_a_deletion(visitor: Visit, file: MakeFile) -> None:
    page = visitor.page
    upload(page, file("gone.txt"))
    page.get_by_role("button", name="Delete gone.txt").click()
    page.goto("about:blank")
    ask = visitor.context.request
    wait_until("the end of the file", lambda: ask.get("/api/files").json()["files"] == [])
    page.goto("/")
    expect(page.get_by_text("Nothing here yet.")).to_be_visible()


def test_a_file_that_was_changed_is_not_deleted(visitor: Visit, file: MakeFile) -> None:
    page = visitor.page
    upload(page, file("shared.txt"))
    expect(row(page, "shared.txt")).to_be_visible()
    assert visitor.context.request.put("/api/files/shared.txt", data=b"newer content").ok
    visitor.watch.expect("412")
    page.get_by_role("button", name="Delete shared.txt").click()
    expect(page.locator("#files-trouble")).to_contain_text("shared.txt was not deleted")
    expect(row(page, "shared.txt")).to_contain_text("13 Bytes")


def test_an_upload_is_cancelled_and_tried_again(visitor: Visit, file: MakeFile) -> None:
    page = visitor.page
    slowness = slow_down(visitor, 1_000_000)
    upload(page, file("large.bin", size=20_000_000))
    expect(page.locator("#uploads .word")).to_contain_text("MiB of 19.1 MiB")
    visitor.shoot("upload")
    page.get_by_role("button", name="Cancel large.bin").click()
    expect(page.locator("#uploads")).to_contain_text("cancelled; nothing of it was kept")
    assert visitor.context.request.get("/api/files").json()["files"] == []
    slowness.detach()
    page.get_by_role("button", name="Retry large.bin").click()
    expect(row(page, "large.bin")).to_contain_text("19.1 MiB")


def test_the_page_asks_before_an_upload_is_left(visitor: Visit, file: MakeFile) -> None:
    """And only then: a file that is stored is safe, though the page still asks for its new list."""
    page = visitor.page
    sign_in(page, "Ada")  # a page that nobody touched may not ask
    expect(page.locator("#session-name")).to_have_text("Ada")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    slowness = slow_down(visitor, 1_000_000)
    upload(page, file("large.bin", size=20_000_000))
    expect(page.locator("#uploads .word")).to_contain_text("MiB of 19.1 MiB")
    with page.expect_event("dialog"):
        page.evaluate("location.href = '/?left'")
    expect(page.locator("#uploads .word")).to_contain_text("MiB of 19.1 MiB")

    page.route("**/api/files?*", lambda _: None)  # the new list does not come
    slowness.detach()
    expect(page.locator("#uploads .word")).to_have_text("stored")
    page.goto("/?left")
    assert asked == ["beforeunload"]
    expect(row(page, "large.bin")).to_contain_text("19.1 MiB")


def test_what_is_too_large_is_not_sent(visitor: Visit, file: MakeFile) -> None:
    page = visitor.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    upload(page, file("huge.bin", size=1_300 * 2**20))
    expect(page.locator("#uploads")).to_contain_text("1.3 GiB is more than a file may have (1.2 GiB)")
    assert "PUT" not in asked


def test_the_problem_document_is_told(visitor: Visit, file: MakeFile) -> None:
    page = visitor.page
    visitor.watch.expect("400")
    upload(page, file("line\nbreak.txt"))
    expect(page.locator("#uploads")).to_contain_text("A file's name must not contain control characters.")
    sign_in(page, " ")
    expect(page.locator("#session-trouble")).to_contain_text("A name must have 1 to 100 characters")


def test_a_long_list_comes_page_by_page(visitor: Visit) -> None:
    page = visitor.page
    for number in range(103):
        assert visitor.context.request.put(f"/api/files/{number:03}.txt", data=b"x").ok
    page.reload()
    expect(page.locator("#file-list .file")).to_have_count(100)
    page.get_by_role("link", name="Show more").click()
    expect(page.locator("#file-list .file")).to_have_count(103)
    expect(page.get_by_role("link", name="Show more")).to_be_hidden()


def test_the_numbers_are_drawn(visitor: Visit) -> None:
    page = visitor.page
    expect(page.locator("#chart-p99 strong")).to_contain_text("ms")
    expect(page.locator("#chart-served strong")).to_have_text(re.compile(r"^[0-9.]+$"))
    expect(page.locator("#chart-threads strong")).to_have_text("1 of 8")
    points = page.locator("#chart-rate polyline")
    expect(points).to_have_attribute("points", re.compile(r"^[\d., ]{20,}$"))


def test_a_gigabyte_goes_up_and_comes_down(browser: Browser, site: Site, file: MakeFile) -> None:
    with visit(browser, site.url) as visitor:
        visitor.context.set_default_timeout(120_000)
        upload(visitor.page, file("gigabyte.bin", size=2**30))
        expect(row(visitor.page, "gigabyte.bin")).to_contain_text("1.0 GiB", timeout=120_000)
        with visitor.page.expect_download() as download:
            row(visitor.page, "gigabyte.bin").get_by_role("link").click()
        assert download.value.path().stat().st_size == 2**30
