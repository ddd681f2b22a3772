"""The whole service on each pair of stores, started once for all tests of a module."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.gcs import create_bucket, fake_gcs, object_names, strict_gcs
from tests.support.http import Visitor
from tests.support.memcached import memcached_server
from tests.support.processes import wait_until
from tests.support.redis import redis_server
from tests.support.service import Service, running_service

NAMES = ("memory", "redis", "memcached")


@dataclass(frozen=True)
class Stack:
    """A running service and what it stands on."""

    name: str
    service: Service
    stored_names: Callable[[], list[str]]  # of everybody's files, as the object store has them

    @property
    def app_url(self) -> str:
        return self.service.app_url

    @property
    def ops_url(self) -> str:
        return self.service.ops_url

    def wait_for_account(self, visitor: Visitor, *, files: int, size: int) -> None:
        """Wait until the visitor's account says so."""

        def fits() -> bool:
            usage = visitor.get("/api/files").json["usage"]
            return (usage["files"], usage["bytes"]) == (files, size)

        wait_until(f"an account of {files} files and {size} bytes", fits)


@contextlib.contextmanager
def running_stack(name: str, **settings: str) -> Iterator[Stack]:
    """``memory`` with a folder, ``redis`` with fake-gcs-server, or ``memcached`` with the strict server."""
    settings.setdefault("SESSION_TIMEOUT", "2s")  # tests share their machine
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        match name:
            case "redis":
                settings["SESSION_URL"] = stack.enter_context(redis_server(folder)).url
                emulator = stack.enter_context(fake_gcs(folder))
            case "memcached":
                settings["SESSION_URL"] = stack.enter_context(memcached_server(folder)).url
                emulator = stack.enter_context(strict_gcs(folder)).url
            case _:
                emulator = ""
        if emulator:
            create_bucket(emulator, "files")
            settings |= {"STORAGE_URL": "gs://files/some/prefix", "STORAGE_EMULATOR_HOST": emulator}
        service = stack.enter_context(running_service(folder, settings))

        def stored_names() -> list[str]:
            if emulator:
                return object_names(emulator, "files")
            return [path.name for path in (folder / "files").rglob("*.object")]

        yield Stack(name, service, stored_names)
