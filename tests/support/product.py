"""The service as it comes, with the sample's routes, and a visitor who keeps files there."""

from functools import partial
from urllib.parse import quote

from tests.support import http
from tests.support.processes import wait_until
from tests.support.service import running_service
from tests.support.stacks import running_stack

running_sample = partial(running_service, module="service")
running_sample_stack = partial(running_stack, module="service")


def file_path(name: str) -> str:
    """Where a file is, with every odd byte encoded."""
    return "/api/files/" + quote(name, safe="")


class Visitor(http.Visitor):
    """One visitor of the sample: ``put`` stores a file."""

    path_of = staticmethod(file_path)


def wait_for_account(visitor: Visitor, *, files: int, size: int) -> None:
    """Wait until the visitor's account says so."""

    def fits() -> bool:
        usage = visitor.get("/api/files").json["usage"]
        return (usage["files"], usage["bytes"]) == (files, size)

    wait_until(f"an account of {files} files and {size} bytes", fits)
