"""How the routes of files.py are described in the API's document."""

from service.http.openapi import COUNT, OPTIONAL_TEXT, TEXT, Json, json_body, json_object, operation, parameter, ref

PROBLEMS = {
    "bad-name": "A name is empty, too long, or contains a character that names must not contain.",
    "quota": "The visitor keeps as much as a visitor may keep.",
}

_NOT_CONTROL = r"[^/\u0000-\u001f\u007f-\u009f]"
_NAME = parameter(
    "name",
    "path",
    "1 to 255 bytes of UTF-8 after NFC; no control characters, no slash, not `.` or `..`.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": rf"^(?!\.{{1,2}}$){_NOT_CONTROL}+$"},
)
_PREFIX: Json = {"type": "string", "maxLength": 255, "pattern": rf"^{_NOT_CONTROL}*$"}
# These have no patterns: RFC 9110 says that a malformed value is ignored, or matches nothing.
_IF_MATCH = parameter("If-Match", "header", "Only if the file has one of these entity tags; `*`: only if it exists.")
_IF_NONE_MATCH = parameter("If-None-Match", "header", "Only if it has none of these; `*`: only if it does not exist.")
_RANGE = parameter("Range", "header", "One range of bytes.")
_DIGEST = parameter(
    "Content-Digest",
    "header",
    "The body's SHA-256 or SHA-512 (RFC 9530).",
    {"type": "string", "pattern": "^[a-z][a-z0-9-]*=:[A-Za-z0-9+/]+=*:$"},
)
_HEADERS: Json = {
    "ETag": {"description": "Changes with every write.", "schema": TEXT},
    "Last-Modified": {"description": "When the file was written.", "schema": TEXT},
}
_BYTES: Json = {"*/*": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}}


def paths(max_upload_bytes: int) -> dict[str, Json]:
    """The paths, with this service's limit in them."""
    body = {"description": f"The file, at most {max_upload_bytes} bytes.", "content": _BYTES}  # empty is a file too
    return {
        "/api/files": {
            "get": operation(
                "listFiles",
                "One page of the visitor's files.",
                {200: json_body("The page.", "Files")},
                503,
                parameters=[
                    parameter("prefix", "query", "Only names that begin with this.", _PREFIX),
                    parameter("page_token", "query", "`next_page_token` of the page before."),
                    parameter("limit", "query", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 1000}),
                ],
            )
        },
        "/api/files/{name}": {
            "parameters": [_NAME],
            "get": operation(
                "readFile",
                "The file, or a range of it.",
                {
                    200: {"description": "The file.", "headers": _HEADERS, "content": _BYTES},
                    206: {"description": "The range.", "headers": _HEADERS, "content": _BYTES},
                    304: {"description": "The client's copy is current.", "headers": _HEADERS},
                },
                *(404, 412, 416, 503),
                parameters=[_RANGE, _IF_MATCH, _IF_NONE_MATCH],
            ),
            "head": operation(
                "describeFile",
                "The headers that GET would send.",
                {
                    200: {"description": "The headers.", "headers": _HEADERS},
                    304: {"description": "The client's copy is current."},
                },
                *(404, 412, 503),
                parameters=[_IF_MATCH, _IF_NONE_MATCH],
            ),
            "put": operation(
                "writeFile",
                "Store the body under this name.",
                {200: json_body("The file was replaced.", "File"), 201: json_body("The file is new.", "File")},
                *(403, 408, 409, 412, 413, 502, 503, 507),
                parameters=[_IF_MATCH, _IF_NONE_MATCH, _DIGEST],
                requestBody=body,
            ),
            "delete": operation(
                "deleteFile",
                "Delete the file.",
                {204: {"description": "The file was deleted."}},
                *(403, 404, 409, 412, 503),
                parameters=[_IF_MATCH, _IF_NONE_MATCH],
            ),
        },
    }


SCHEMAS: dict[str, Json] = {
    "File": json_object(name=TEXT, size=COUNT, content_type=TEXT, etag=TEXT, updated=TEXT, crc32c=TEXT),
    "Files": json_object(
        files={"type": "array", "items": ref("File")},
        next_page_token=OPTIONAL_TEXT,
        usage=json_object(files=COUNT, bytes=COUNT, max_files=COUNT, max_bytes=COUNT),
    ),
}
