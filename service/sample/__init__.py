"""The sample: visitors have a session and keep files, and a page shows it. A fork deletes it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from service import Parts


def register(app: "Flask", parts: "Parts") -> None:
    """Put the sample's routes on ``app``."""
    from service.sample.files import Files
    from service.sample.page import SamplePage
    from service.sample.status import Status
    from service.sample.visitor import Visitor

    visitor = Visitor(parts)
    files = Files(parts)
    status = Status(parts)
    for module in (visitor, files, status, SamplePage(parts, visitor, files, status)):
        module.register(app)
