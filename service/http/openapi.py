"""The API's description, OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), merged from what each module adds.

A module that registers routes describes them beside, ``parts.openapi.add(paths=..., schemas=...)``, with the helpers
below.
"""

from collections.abc import Mapping
from typing import Any

from service.http import problem_details

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
OPTIONAL_TEXT: Json = {"type": ["string", "null"]}
COUNT: Json = {"type": "integer", "minimum": 0}
HTTP_DATE: Json = {"type": ["string", "null"], "description": "An HTTP date (RFC 9110 §5.6.7)."}

_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_ERRORS = {
    400: "The request is not valid.",
    403: "The request came from a page of another site.",
    404: "There is no such resource.",
    408: "The request's body came too slowly.",
    409: "Another request changed the session or the resource. Nothing was done.",
    411: "The request needs a Content-Length.",
    412: "A precondition does not hold (RFC 9110 §13).",
    413: "The request's body is too large.",
    415: "The request's body has an unsupported media type or content coding.",
    416: "The range starts beyond the end of the content.",
    502: "The content was damaged on its way to the store, and nothing was kept; or on its way from it.",
    503: "A store is out of reach, or the service is busy. Try again after Retry-After.",
    507: "The quota is used up.",
}


class OpenApi:
    """The document. ``version`` is the release that runs."""

    def __init__(self, *, title: str, version: str) -> None:
        problem = {problem_details.CONTENT_TYPE: {"schema": ref("Problem")}}
        self.document: Json = {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version, "license": _LICENSE},
            "servers": [{"url": "/"}],
            "paths": {},
            "components": {
                "schemas": {"Problem": json_object(type=TEXT, title=TEXT, status=COUNT, detail=TEXT)},
                "responses": {f"Problem{n}": {"description": text, "content": problem} for n, text in _ERRORS.items()},
                "x-problems": {},
            },
        }

    def add(
        self, *, paths: Mapping[str, Json], schemas: Mapping[str, Json] = {}, problems: Mapping[str, str] = {}
    ) -> None:
        """Merge a module's description: its paths, its schemas, and the kinds of problem that only it reports.

        ValueError if another module has described the same path, schema or kind.
        """
        components = self.document["components"]
        merged = (self.document["paths"], paths), (components["schemas"], schemas), (components["x-problems"], problems)
        for target, more in merged:
            if twice := target.keys() & more.keys():
                raise ValueError(f"described twice: {', '.join(sorted(twice))}")
            target.update(more)


def ref(schema: str) -> Json:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}


def json_object(**properties: Json) -> Json:
    """The schema of a JSON object that has all of these properties."""
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def json_body(description: str, schema: str) -> Json:
    """A response (or request body) of JSON by a named schema."""
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def parameter(name: str, where: str, description: str, schema: Json | None = None) -> Json:
    """A parameter in the "path", "query" or "header"; text unless a schema says otherwise."""
    required = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "description": description, "schema": schema or TEXT} | required


def operation(name: str, summary: str, responses: Mapping[int, str | Json], *errors: int, **more: Any) -> Json:
    """One method of a path. ``errors``: the statuses of its problems, beside 400. Text is a response without a body."""
    described = {str(n): {"description": it} if isinstance(it, str) else it for n, it in responses.items()}
    described |= {str(n): {"$ref": f"#/components/responses/Problem{n}"} for n in (400, *errors)}
    return {"operationId": name, "summary": summary, "responses": described} | more
