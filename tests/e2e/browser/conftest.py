"""Two instances behind a real nginx on real stores, and a real browser before them."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Visit, chromium, visit
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.nginx import nginx
from tests.support.product import running_product
from tests.support.redis import redis_server

Open = Callable[..., AbstractContextManager[Visit]]


@dataclass(frozen=True)
class Site:
    """What stands behind the address that visitors open."""

    url: str
    instances: tuple[str, str]  # each by itself


@contextlib.contextmanager
def two_instances(folder: Path, **settings: str) -> Iterator[Site]:
    """Instances "east" and "west", which answer in turn."""
    settings.setdefault("SESSION_TIMEOUT", "2s")  # tests share their machine
    with contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(running_product(folder, settings, INSTANCE=name, DOCS_URL="https://docs.example.org"))
            for name in ("east", "west")
        ]
        ports = [int(service.app_url.rpartition(":")[2]) for service in services]
        url = stack.enter_context(nginx(folder, ports))
        yield Site(url, (services[0].app_url, services[1].app_url))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The service as it is meant: Redis, object storage, two instances."""
    folder = tmp_path_factory.mktemp("site")
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(strict_gcs(folder)).url
        create_bucket(emulator, "files")
        settings = {
            "SESSION_URL": stack.enter_context(redis_server(folder)).url,
            "STORAGE_URL": "gs://files",
            "STORAGE_EMULATOR_HOST": emulator,
            "PAGE_NUMBERS": "true",
            "MAX_UPLOAD_BYTES": "1200MiB",
            "MAX_TOTAL_BYTES": "4GiB",
        }
        yield stack.enter_context(two_instances(folder, **settings))


@pytest.fixture
def visitor(browser: Browser, site: Site) -> Iterator[Visit]:
    """Somebody who has opened the page."""
    with visit(browser, site.url) as somebody:
        yield somebody


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Make a file: ``file("name.txt", b"content")``."""

    def make(name: str, content: bytes = b"content", *, size: int = 0) -> Path:
        path = tmp_path / name
        with path.open("wb") as out:
            out.write(content)
            out.truncate(size or len(content))
        return path

    return make
