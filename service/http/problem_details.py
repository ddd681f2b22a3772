"""Problem details for HTTP APIs (RFC 9457): the one shape of every error.

Used by the app listener, by the server for errors before a request is complete, and by the ops listener.
"""

import json
from http import HTTPStatus

CONTENT_TYPE = "application/problem+json"
# The ``type`` of a problem document points into the API's description, where the service's own kinds are found.
KIND_POINTER = "/openapi.json#/components/x-problems/"

# https://www.iana.org/assignments/http-status-codes; Python before 3.13 has older phrases.
_RENAMED = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def title(status: int) -> str:
    """The status' phrase in IANA's registry."""
    if status in _RENAMED:
        return _RENAMED[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem(
    status: int, detail: str, *, kind: str = "about:blank", instance: str = "", request_id: str = "", **more: object
) -> bytes:
    """A problem document in UTF-8.

    ``kind`` is the ``type`` member, a URI reference; "about:blank" says that the status explains itself. ``instance``
    is the request's path. ``more`` are extension members. A surrogate in a text is escaped, so no text raises.
    """
    document: dict[str, object] = {"type": kind, "title": title(status), "status": status, "detail": detail}
    if instance:
        document["instance"] = instance
    if request_id:
        document["request_id"] = request_id
    return json.dumps(document | more).encode()
