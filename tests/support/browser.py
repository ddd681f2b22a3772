"""A real Chromium, and pages that are watched: what a visitor's browser complains of fails the test."""

import contextlib
import os
import re
from collections.abc import Iterator

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

from tests.support.processes import require
from tests.support.service import PROJECT

SHOTS = PROJECT / ".cache" / "screenshots"
PATIENCE = 20_000  # milliseconds; what does not come would not come later
LAPTOP = {"width": 1366, "height": 768}


class Watch:
    """Collects what goes wrong on a page: errors on the console (the policy's among them), exceptions, requests that
    failed or were refused."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._expected: list[str] = []

    def expect(self, *patterns: str) -> None:
        """What fits one of these regular expressions is part of the test."""
        self._expected += patterns

    def on(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._faults.append(f"exception: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    @property
    def faults(self) -> list[str]:
        return [fault for fault in self._faults if not any(re.search(pattern, fault) for pattern in self._expected)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._faults.append(f"console: {message.text} ({message.location.get('url')})")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the visitor's own doing: a page was left, an upload cancelled
            self._faults.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._faults.append(f"refused: {response.status} {response.request.method} {response.url}")


class Visit:
    """A visitor with a browser of their own: its first page, and what it complains of."""

    def __init__(self, context: BrowserContext, base_url: str) -> None:
        self.context, self.base_url = context, base_url
        self.watch = Watch()
        context.on("page", self.watch.on)
        self.page = context.new_page()
        self.page.goto("/")

    def shoot(self, name: str) -> None:
        """A screenshot for people to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window. Its own sandbox is no good for root, and is then off."""
    program = require("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
            env=dict(os.environ),
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visit(browser: Browser, base_url: str, **options: object) -> Iterator[Visit]:
    """A visitor at the page. When this is left, what its browser complained of is an AssertionError."""
    chosen: dict[str, object] = {"base_url": base_url, "viewport": LAPTOP, "locale": "en-GB", "timezone_id": "UTC"}
    context = browser.new_context(**(chosen | options))  # type: ignore[arg-type] # as Playwright names them
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    try:
        visitor = Visit(context, base_url)
        yield visitor
        assert not visitor.watch.faults, "the browser complained:\n" + "\n".join(visitor.watch.faults)
    finally:
        context.close()
