"""Make the pictures of docs/images: the page of two instances, with a session and files, in a real browser."""

import contextlib
import tempfile
from pathlib import Path

from playwright.sync_api import ViewportSize, expect

from tests.e2e.browser.conftest import two_instances
from tests.support.browser import chromium, visit
from tests.support.redis import redis_server

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FILES = {
    "logbook.txt": 18_400,
    "chart of the bay.png": 2_310_000,
    "crew list.csv": 4_096,
    "engine trial.mp4": 48_000_000,
}
SHOTS: dict[str, tuple[str, ViewportSize]] = {
    "page-light": ("light", {"width": 1366, "height": 768}),
    "page-dark": ("dark", {"width": 1366, "height": 768}),
}


def main() -> None:
    """Start all of it, do what a visitor does, and look."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(redis_server(folder))
        site = stack.enter_context(two_instances(folder, SESSION_URL=redis.url, PAGE_NUMBERS="true"))
        browser = stack.enter_context(chromium())
        for name, (scheme, viewport) in SHOTS.items():
            with visit(browser, site.url, color_scheme=scheme, viewport=viewport) as visitor:
                page = visitor.page
                page.get_by_label("Your name").fill("Grace")
                page.get_by_role("button", name="Sign in").click()
                for count in range(1, 8):
                    page.get_by_role("button", name="Count a visit").click()
                    expect(page.locator("#visits")).to_have_text(str(count))
                for file, size in FILES.items():
                    path = folder / file
                    with path.open("wb") as out:
                        out.truncate(size)
                    page.locator("#chosen").set_input_files(path)
                expect(page.locator("#file-list .file")).to_have_count(len(FILES))
                expect(page.locator("#uploads li")).to_have_count(0)
                page.wait_for_timeout(25_000)  # the charts are to show something
                page.screenshot(path=IMAGES / f"{name}.png")
                print(f"{IMAGES.name}/{name}.png")


if __name__ == "__main__":
    main()
