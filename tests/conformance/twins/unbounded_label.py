"""Breaks 4a: requests are labelled with their path, not with the route's template."""

import flask

from service.http import security as guards
from tests.conformance.twins.ours import start


def note_path(request: flask.Request) -> None:
    request.environ["service.route"] = request.path


if __name__ == "__main__":
    guards._note_route = note_path
    start()
