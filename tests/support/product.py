"""The whole product, with the features that it comes with, and a visitor who keeps files there.

A fork that has deleted the sample says in ``file_path`` where its own service keeps files.
"""

from functools import partial
from urllib.parse import quote

from tests.support import http
from tests.support.service import running_service
from tests.support.stacks import running_stack

running_product = partial(running_service, module="service")
running_product_stack = partial(running_stack, module="service")


def file_path(name: str) -> str:
    """Where a file is, with every odd byte encoded."""
    return "/api/files/" + quote(name, safe="")


class Visitor(http.Visitor):
    """One visitor of the product: ``put`` stores a file."""

    path_of = staticmethod(file_path)
