"""What a visitor sees when something breaks: the page says so, goes on, and loses nothing."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser.conftest import Site, two_instances
from tests.e2e.browser.test_flows import row, sign_in, slow_down, upload
from tests.support.browser import Visit, visit
from tests.support.fleet import steady_port
from tests.support.processes import stop
from tests.support.product import running_product
from tests.support.proxy import proxy
from tests.support.redis import redis_server
from tests.support.service import Service


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Site]:
    """What goes wrong with sessions in memory: two instances that know nothing of each other."""
    with two_instances(tmp_path, SESSION_URL="memory://") as running:
        yield running


def test_the_jump_of_the_counter_is_explained(browser: Browser, memory: Site) -> None:
    with visit(browser, memory.url) as visitor:
        page = visitor.page
        expect(page.locator("#session-note")).to_contain_text("no other instance knows it")
        for _ in range(6):
            page.get_by_role("button", name="Count a visit").click()
            expect(page.locator("#visit")).to_have_attribute("aria-busy", "false")
        told = re.compile(r"The counter went from \d to \d\. (east|west) answered this time")
        expect(page.locator("#session-note")).to_contain_text(told)
        visitor.shoot("memory-jump")


def test_redis_stops_and_starts_while_the_page_is_open(browser: Browser, tmp_path: Path) -> None:
    port = steady_port()
    settings = {"SESSION_URL": f"redis://127.0.0.1:{port}/0", "DEPENDENCY_CHECK_INTERVAL": "2s"}  # the default
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(redis_server(tmp_path, port=port))
        service = stack.enter_context(running_product(tmp_path, settings))
        visitor = stack.enter_context(visit(browser, service.app_url))
        page = visitor.page
        state = page.locator("#state-sessions")
        expect(state).to_contain_text("yes")
        sign_in(page, "Ada")
        expect(page.get_by_text("Signed in as Ada")).to_be_visible()
        visitor.watch.expect("503")
        stop(server.process)
        page.get_by_role("button", name="Count a visit").click()
        expect(page.locator("#session-trouble")).to_contain_text("The session store is out of reach.")
        expect(state).to_have_attribute("data-state", "fail")
        expect(state).to_contain_text("no")
        expect(page.locator("#state-live")).to_contain_text("yes")
        expect(page.locator("#state-ready")).to_contain_text("yes")
        visitor.shoot("redis-down")
        page.reload()  # the page itself comes all the same
        expect(page.locator("#session-trouble")).to_contain_text("The session store is out of reach.")
        stack.enter_context(redis_server(tmp_path, port=port))
        expect(state).to_have_attribute("data-state", "pass")
        expect(page.locator("#session-trouble")).to_be_hidden()
        page.get_by_role("button", name="Count a visit").click()
        expect(page.locator("#visits")).to_have_text("1")  # this Redis came back empty


def test_a_sign_in_whose_response_was_lost_is_done_by_the_next_click(browser: Browser, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(running_product(tmp_path))
        between = stack.enter_context(proxy(int(service.app_url.rpartition(":")[2])))
        visitor = stack.enter_context(visit(browser, f"http://127.0.0.1:{between.port}"))
        page = visitor.page
        page.get_by_role("button", name="Count a visit").click()
        expect(page.locator("#visits")).to_have_text("1")
        visitor.watch.expect("ERR_")
        between.cut = True
        sign_in(page, "Ada")
        expect(page.locator("#session-trouble")).not_to_be_empty()
        service.wait_for(lambda r: r.get("httpRequest", {}).get("requestMethod") == "PUT")
        between.cut = False
        sign_in(page, "Ada")
        expect(page.get_by_text("Signed in as Ada")).to_be_visible()
        expect(page.locator("#visits")).to_have_text("1")


def test_an_outage_shows_though_nobody_uses_the_store(browser: Browser, tmp_path: Path) -> None:
    """Checks are far apart, and the page's own questions make them come."""
    with redis_server(tmp_path) as server:
        settings = {"SESSION_URL": server.url, "DEPENDENCY_CHECK_INTERVAL": "300s"}
        with running_product(tmp_path, settings) as service, visit(browser, service.app_url) as visitor:
            state = visitor.page.locator("#state-sessions")
            expect(state).to_have_attribute("data-state", "pass")
            visitor.watch.expect("503")
            began = time.monotonic()
            stop(server.process)
            expect(state).to_have_attribute("data-state", "fail")
            print(f"an outage showed after {time.monotonic() - began:.1f} s")


def test_the_service_is_killed_in_the_middle_of_an_upload(
    browser: Browser, tmp_path: Path, file: Callable[..., Path]
) -> None:
    port = steady_port()
    with contextlib.ExitStack() as stack:
        settings = {"SESSION_URL": stack.enter_context(redis_server(tmp_path)).url, "PORT": str(port)}
        service = stack.enter_context(running_product(tmp_path, settings))
        visitor = stack.enter_context(visit(browser, service.app_url))
        page = visitor.page
        upload(page, file("before.txt"))
        expect(row(page, "before.txt")).to_be_visible()
        slowness = slow_down(visitor, 1_000_000)
        upload(page, file("large.bin", size=20_000_000))
        expect(page.locator("#uploads .word")).to_contain_text("MiB of 19.1 MiB")
        visitor.watch.expect("net::ERR_(CONNECTION|EMPTY|SOCKET)", "50[0-9]")
        kill(service)
        expect(page.locator("#uploads")).to_contain_text("The connection broke.")
        expect(page.locator("#connection")).to_contain_text("No response.")
        expect(page.locator("#strip .failed").first).to_be_visible()
        expect(page.locator("#state-live")).to_contain_text("no response")
        expect(page.locator("#state-sessions")).to_contain_text("not known")
        visitor.shoot("killed")
        slowness.detach()
        stack.enter_context(running_product(tmp_path, settings))
        expect(page.locator("#connection")).to_have_text("")
        page.get_by_role("button", name="Retry large.bin").click()
        expect(row(page, "large.bin")).to_contain_text("19.1 MiB")
        expect(row(page, "before.txt")).to_be_visible()


def kill(service: Service) -> None:
    """SIGKILL to every process of it."""
    for pid in (service.process.pid, *service.workers):
        os.kill(pid, signal.SIGKILL)
    service.process.wait()


def test_a_session_is_begun_once_however_many_files_come_first(visitor: Visit, file: Callable[..., Path]) -> None:
    page = visitor.page
    upload(page, *(file(f"{number}.txt") for number in range(12)))
    expect(page.locator("#file-list .file")).to_have_count(12)


def test_a_draining_instance_says_that_it_is_not_ready(browser: Browser, tmp_path: Path) -> None:
    with running_product(tmp_path, SHUTDOWN_DELAY="60s") as service, visit(browser, service.app_url) as visitor:
        expect(visitor.page.locator("#state-ready")).to_contain_text("yes")
        service.process.terminate()
        expect(visitor.page.locator("#state-ready")).to_contain_text("shutting down")
        expect(visitor.page.locator("#state-live")).to_contain_text("yes")
        service.process.terminate()  # the delay ends
        visitor.watch.expect("net::ERR_", "50[0-9]")
        service.process.wait()
