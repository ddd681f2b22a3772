"""The API's description, OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), as ``GET /openapi.json`` gives it."""

from typing import Any

from service.http import problem_details
from service.http.errors import KINDS
from service.sample.file_names import MAX_VISITOR
from service.settings import Settings

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_DATE = {"type": ["string", "null"], "description": "An HTTP date (RFC 9110 §5.6.7)."}
_TITLES = {
    400: "Something about the request is wrong.",
    403: "Another site may not write here.",
    404: "There is no such file.",
    408: "The body came too slowly.",
    409: "The session or the file was changed meanwhile. Nothing was done.",
    411: "The body needs a Content-Length.",
    412: "A precondition does not hold (RFC 9110 §13).",
    413: "The body is too large.",
    415: "The body is of another type.",
    416: "The range is beyond the file's end.",
    502: "The file was damaged on its way to the store. Nothing was kept.",
    503: "A store is out of reach, or there is no room for the request; see Retry-After.",
    507: "The visitor's quota is used up.",
}


def _object(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _json(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _operation(
    name: str, summary: str, answers: dict[int, dict[str, Any]], *faults: int, **more: Any
) -> dict[str, Any]:
    responses = {str(status): answer for status, answer in answers.items()}
    responses |= {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in (400, *faults)}
    return {"operationId": name, "summary": summary, "responses": responses} | more


def _parameter(name: str, where: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    needed = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "description": description, "schema": schema or _TEXT} | needed


_NOT_CONTROL = r"[^/\u0000-\u001f\u007f-\u009f]"
_NAME = _parameter(
    "name",
    "path",
    "1 to 255 bytes of UTF-8 after NFC, no control characters, no slash, not `.` or `..`.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": rf"^(?!\.{{1,2}}$){_NOT_CONTROL}+$"},
)
# No patterns for these: RFC 9110 says that what is malformed is passed over, or fits nothing.
_IF_MATCH = _parameter("If-Match", "header", "Only if the file is one of these; `*`: if there is one.")
_IF_NONE_MATCH = _parameter("If-None-Match", "header", "Only if it is none of these; `*`: if there is none.")
_RANGE = _parameter("Range", "header", "One range of bytes.")
_DIGEST = _parameter(
    "Content-Digest",
    "header",
    "sha-256 or sha-512 of the body (RFC 9530).",
    {"type": "string", "pattern": "^[a-z][a-z0-9-]*=:[A-Za-z0-9+/]+=*:$"},
)
_PREFIX = {"type": "string", "maxLength": 255, "pattern": rf"^{_NOT_CONTROL}*$"}
_FILE_HEADERS = {
    "ETag": {"description": "Changes with every write.", "schema": _TEXT},
    "Last-Modified": {"description": "When it was written.", "schema": _TEXT},
}
_BYTES = {"*/*": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}}


def describe(settings: Settings) -> dict[str, Any]:
    """The document as it is served, with this service's limits in it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Seatrial",
            "version": settings.version,
            "summary": "Visitors have a session and keep files.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": _paths(settings),
        "components": {"schemas": _schemas(), "responses": _problems(), "x-problems": KINDS},
    }


def _paths(settings: Settings) -> dict[str, Any]:
    page = {200: {"description": "The page.", "content": {"text/html": {"schema": _TEXT}}}}
    stored = f"The file, at most {settings.max_upload_bytes} bytes."
    upload = {"description": stored, "content": _BYTES}  # none at all is an empty file
    sign_in = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SignIn"}}}}
    document = {"content": {"application/json": {"schema": {"type": "object"}}}, "description": "This document."}
    return {
        "/": {"get": _operation("page", "The page.", page)},
        "/openapi.json": {"get": _operation("openapi", "This document.", {200: document})},
        "/health": {"get": _health("health", "Liveness: anything but 200 asks for a restart.")},
        "/ready": {"get": _health("ready", "Readiness: send requests only while this is 200.")},
        "/api/instance": {"get": _operation("instance", "Which instance answered.", {200: _json("It.", "Instance")})},
        "/api/status": {
            "get": _operation("status", "How the instance that answered is.", {200: _json("It.", "Status")})
        },
        "/api/session": {
            "get": _operation("showSession", "What the session holds.", {200: _json("It.", "Session")}, 503),
            "put": _operation(
                "signIn",
                "Name the session, and give it a new id.",
                {200: _json("Signed in.", "SignIn")},
                *(403, 408, 409, 411, 413, 415, 503),
                requestBody=sign_in,
            ),
            "delete": _operation("signOut", "End the session.", {204: {"description": "It is gone."}}, 403, 409, 503),
        },
        "/api/session/visits": {
            "post": _operation("visit", "Count a visit.", {200: _json("The count.", "Visits")}, 403, 409, 413, 503)
        },
        "/api/files": {
            "get": _operation(
                "listFiles",
                "One page of the visitor's files.",
                {200: _json("The page.", "Files")},
                503,
                parameters=[
                    _parameter("prefix", "query", "Only names that begin so.", _PREFIX),
                    _parameter("page_token", "query", "`next_page_token` of the page before."),
                    _parameter("limit", "query", "How many.", {"type": "integer", "minimum": 1, "maximum": 1000}),
                ],
            )
        },
        "/api/files/{name}": {
            "parameters": [_NAME],
            "get": _operation(
                "readFile",
                "The file, or a range of it.",
                {
                    200: {"description": "The file.", "headers": _FILE_HEADERS, "content": _BYTES},
                    206: {"description": "The range.", "headers": _FILE_HEADERS, "content": _BYTES},
                    304: {"description": "It is the one you have.", "headers": _FILE_HEADERS},
                },
                *(404, 412, 416, 503),
                parameters=[_RANGE, _IF_MATCH, _IF_NONE_MATCH],
            ),
            "head": _operation(
                "describeFile",
                "The headers that GET would give.",
                {200: {"description": "They.", "headers": _FILE_HEADERS}, 304: {"description": "As you have it."}},
                *(404, 412, 503),
                parameters=[_IF_MATCH, _IF_NONE_MATCH],
            ),
            "put": _operation(
                "writeFile",
                "Store the body under this name.",
                {200: _json("It replaced one.", "File"), 201: _json("It is new.", "File")},
                *(403, 408, 409, 412, 413, 502, 503, 507),
                parameters=[
                    _IF_MATCH,
                    _IF_NONE_MATCH,
                    _DIGEST,
                ],
                requestBody=upload,
            ),
            "delete": _operation(
                "deleteFile",
                "Delete the file.",
                {204: {"description": "It is gone."}},
                *(403, 404, 409, 412, 503),
                parameters=[_IF_MATCH, _IF_NONE_MATCH],
            ),
        },
    }


def _health(name: str, summary: str) -> dict[str, Any]:
    content = {"application/health+json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    answers = {200: {"description": "Yes.", "content": content}, 503: {"description": "No.", "content": content}}
    return _operation(name, summary, answers)


def _schemas() -> dict[str, Any]:
    optional_text = {"type": ["string", "null"]}
    usage = _object(files=_COUNT, bytes=_COUNT, max_files=_COUNT, max_bytes=_COUNT)
    return {
        "Problem": _object(type=_TEXT, title=_TEXT, status={"type": "integer"}, detail=_TEXT),
        "Health": _object(status={"enum": ["pass", "warn", "fail"]}),
        "Instance": _object(
            name=_TEXT, version=_TEXT, revision=_TEXT, started=_TEXT, stores=_object(sessions=_TEXT, files=_TEXT)
        ),
        "Status": _status(),
        "SignIn": _object(name={"type": "string", "minLength": 1, "maxLength": MAX_VISITOR}),
        "Visits": _object(visits=_COUNT),
        "Session": _object(
            exists={"type": "boolean"}, name=optional_text, visits=_COUNT, created=_DATE, expires=_DATE, store=_TEXT
        ),
        "File": _object(name=_TEXT, size=_COUNT, content_type=_TEXT, etag=_TEXT, updated=_TEXT, crc32c=_TEXT),
        "Files": _object(
            files={"type": "array", "items": {"$ref": "#/components/schemas/File"}},
            next_page_token=optional_text,
            usage=usage,
        ),
    }


def _status() -> dict[str, Any]:
    state = {"enum": ["pass", "warn", "fail"], "description": "warn: not known yet."}
    verdict = {"type": "object", "properties": {"status": state, "output": _TEXT}, "required": ["status"]}
    schema = _object(
        instance={"$ref": "#/components/schemas/Instance"},
        live=verdict,
        ready=verdict,
        dependencies={"type": "object", "additionalProperties": _object(status=state, since=_TEXT)},
    )
    latency = {"type": "array", "items": {"type": "array", "prefixItems": [{"type": ["number", "null"]}, _COUNT]}}
    figures = _object(requests=_COUNT, errors=_COUNT, threads=_COUNT, threads_busy=_COUNT, latency=latency)
    schema["properties"]["figures"] = figures | {"description": "Only with PAGE_NUMBERS."}
    return schema


def _problems() -> dict[str, Any]:
    content = {problem_details.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {f"Problem{status}": {"description": text, "content": content} for status, text in _TITLES.items()}
