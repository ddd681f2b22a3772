"""The whole service on each pair of stores."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.gcs import create_bucket, fake_gcs, object_names, strict_gcs
from tests.support.memcached import memcached_server
from tests.support.redis import redis_server
from tests.support.service import Service, running_service

NAMES = ("memory", "redis", "memcached")


@dataclass(frozen=True)
class Stack:
    """A running service and what it stands on."""

    name: str
    service: Service
    stored_names: Callable[[], list[str]]  # of everybody's objects, as the object store has them

    @property
    def app_url(self) -> str:
        return self.service.app_url

    @property
    def ops_url(self) -> str:
        return self.service.ops_url


@contextlib.contextmanager
def running_stack(name: str, *, module: str = "tests.probe", **settings: str) -> Iterator[Stack]:
    """``memory`` with a folder, ``redis`` with fake-gcs-server, or ``memcached`` with the strict server.

    ``module``: what ``running_service`` runs.
    """
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
        service = stack.enter_context(running_service(folder, settings, module=module))

        def stored_names() -> list[str]:
            if emulator:
                return object_names(emulator, "files")
            return [path.name for path in (folder / "files").rglob("*.object")]

        yield Stack(name, service, stored_names)
