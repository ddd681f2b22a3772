"""How the routes of files.py are described in the API's document."""

from service.http.openapi import COUNT, OPTIONAL_TEXT, TEXT, Json, json_body, json_object, operation, parameter, ref

PROBLEMS = {
    "bad-name": "A name is empty, too long, or contains a character that names must not contain.",
    "quota": "The visitor's quota is used up. Delete files to make room.",
}

_NOT_CONTROL = r"[^/\u0000-\u001f\u007f-\u009f]"
_NAME = parameter(
    "name",
    "path",
    "1 to 255 bytes of UTF-8 after NFC; no control characters, no slash, not `.` or `..`.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": rf"^(?!\.{{1,2}}$){_NOT_CONTROL}+$"},
)
_PREFIX: Json = {"type": "string", "maxLength": 255, "pattern": rf"^{_NOT_CONTROL}*$"}
_PAGE = [
    parameter("prefix", "query", "Only names that begin with this.", _PREFIX),
    parameter("page_token", "query", "`next_page_token` of the page before."),
    parameter("limit", "query", "The most files in a page.", {"type": "integer", "minimum": 1, "maximum": 1000}),
]
# The next three have no patterns: RFC 9110 says that a malformed value is ignored, or matches nothing.
_CONDITIONS = [
    parameter("If-Match", "header", "Only if the file has one of these entity tags; `*`: only if it exists."),
    parameter("If-None-Match", "header", "Only if it has none of these; `*`: only if it does not exist."),
]
_RANGE = parameter("Range", "header", "One range of bytes.")
_SHA: Json = {"type": "string", "pattern": "^[a-z][a-z0-9-]*=:[A-Za-z0-9+/]+=*:$"}
_DIGEST = parameter("Content-Digest", "header", "The body's SHA-256 or SHA-512 (RFC 9530).", _SHA)
_HEADERS: Json = {
    "ETag": {"description": "Changes with every write.", "schema": TEXT},
    "Last-Modified": {"description": "When the file was written.", "schema": TEXT},
}
_BYTES: Json = {"*/*": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}}
_UNCHANGED: Json = {"description": "The file has not changed.", "headers": _HEADERS}
_DESCRIBED: dict[int, Json] = {200: {"description": "The headers.", "headers": _HEADERS}, 304: _UNCHANGED}
_READ: dict[int, Json] = {
    200: {"description": "The whole file.", "headers": _HEADERS, "content": _BYTES},
    206: {"description": "The range.", "headers": _HEADERS, "content": _BYTES},
    304: _UNCHANGED,
}
_READ_ERRORS = (404, 412, 416, 502, 503)
_DELETED = {204: "The file was deleted."}
_WRITTEN = {200: json_body("The file was replaced.", "File"), 201: json_body("The file is new.", "File")}


def paths(max_upload_bytes: int) -> dict[str, Json]:
    """The paths, with this service's limit in them."""
    body = {"description": f"The file, at most {max_upload_bytes} bytes.", "content": _BYTES}  # empty is a file too
    listed = {200: json_body("The page.", "Files")}
    return {
        "/api/files": {"get": operation("listFiles", "A page of the visitor's files.", listed, 503, parameters=_PAGE)},
        "/api/files/{name}": {
            "parameters": [_NAME, *_CONDITIONS],
            "get": operation("readFile", "The file, or a range of it.", _READ, *_READ_ERRORS, parameters=[_RANGE]),
            "head": operation("describeFile", "The headers that GET would send.", _DESCRIBED, 404, 412, 503),
            "put": operation(
                "writeFile",
                "Store the body as the file.",
                _WRITTEN,
                *(403, 408, 409, 412, 413, 415, 502, 503, 507),
                parameters=[_DIGEST],
                requestBody=body,
            ),
            "delete": operation("deleteFile", "Delete the file.", _DELETED, 403, 404, 409, 412, 503),
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
