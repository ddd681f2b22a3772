"""Request bodies: large ones as a stream that is checked while it passes, small ones as bytes or as a JSON object.

The raw stream is read: werkzeug would spool a larger form to a temporary file, and there is no disk to write to.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import request

from service.http.errors import Problem

CHUNK = 256 * 1024  # bytes held for each transfer on the way in
MAX_SMALL_BYTES = 16 * 1024  # the server hands over such bodies only when they have arrived

# The active algorithms (RFC 9530 §5), and their digests in base64.
_DIGESTS = {"sha-256": "[A-Za-z0-9+/]{43}=", "sha-512": "[A-Za-z0-9+/]{86}=="}
# A dictionary's member that is a byte sequence, perhaps with parameters (RFC 9651 §3.2, §3.3.5, §3.1.2), and its comma.
_MEMBER = re.compile(
    r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):"
    r"(?:;\x20*[a-z*][a-z0-9_.*-]*(?:=(?:\"(?:[\x20!#-\[\]-~]|\\[\"\\])*\"|[A-Za-z0-9*?:+/=._~!#$%&'^`|-]*))?)*"
    r"[ \t]*(?:,[ \t]*(?=[^ \t])|$)"
)


def declared_length(limit: int) -> int | None:
    """The body's length as the client declares it; None for a chunked body. Over ``limit`` it is a 413 Problem."""
    raw = request.environ.get("CONTENT_LENGTH") or ""
    if not raw:
        return None if "HTTP_TRANSFER_ENCODING" in request.environ else 0
    length = int(raw) if re.fullmatch(r"[0-9]{1,4000}", raw) else -1
    if length < 0:
        raise Problem(400, "Content-Length must be a number of bytes.")
    if length > limit:
        raise Problem(413, f"The body may have at most {limit} bytes; this one has {length}.")
    return length


def stream(*, length: int | None, limit: int) -> Iterator[bytes]:
    """The request's body in chunks of at most 256 KiB, checked against what the client said about it.

    ``length`` is what was declared (None: chunked, cut off at ``limit``). A Problem is raised as soon as the error
    shows, and before the iterator ends, so that a store that keeps only whole bodies keeps no wrong one: 413 over the
    limit, 400 for a body that ends early or does not match its ``Content-Digest`` (RFC 9530), 408 when it comes too
    slowly. A malformed Content-Digest is a 400 at once, a body with a Content-Encoding a 415 (RFC 9110 §15.5.16).
    """
    codings = {coding.strip(" \t").lower() for coding in request.headers.get("Content-Encoding", "").split(",")}
    if codings - {"", "identity"}:
        # The body is kept as it was sent, and its encoding is not.
        raise Problem(415, "Send the body without a Content-Encoding.", headers={"Accept-Encoding": "identity"})
    return _checked(request.environ, length, limit, _wanted_digests(request.headers.get("Content-Digest", "")))


def _checked(
    environ: Mapping[str, Any], length: int | None, limit: int, wanted: list[tuple[str, bytes]]
) -> Iterator[bytes]:
    source, in_flight = environ["wsgi.input"], environ["service.in_flight"]
    hashes = [(name, hashlib.new(name.replace("-", "")), expected) for name, expected in wanted]
    received = 0
    while length is None or received < length:
        chunk = _read(source, CHUNK if length is None else min(CHUNK, length - received))
        if not chunk:
            break
        received += len(chunk)
        if received > limit:
            raise Problem(413, f"The body may have at most {limit} bytes.")
        for _, found, _ in hashes:
            found.update(chunk)
        in_flight.progress()
        yield chunk
    if length is not None and received < length:
        raise Problem(400, f"The body ended after {received} of {length} bytes. Please send it again.", kind="cut-off")
    for name, found, expected in hashes:
        if not hmac.compare_digest(found.digest(), expected):
            raise Problem(400, f"The body does not match the {name} of its Content-Digest.", kind="wrong-digest")


def _read(source: Any, size: int) -> bytes:
    try:
        return bytes(source.read(size))
    except TimeoutError:
        raise
    except OSError as error:
        raise Problem(400, "The body broke off, or its chunked framing is broken.", kind="cut-off") from error


def _wanted_digests(header: str) -> list[tuple[str, bytes]]:
    """The digests of a ``Content-Digest`` header that can be checked; other algorithms are ignored (RFC 9530 §2)."""
    wanted = []
    rest = header.strip(" \t")
    while rest:
        match = _MEMBER.match(rest)
        if not match or not re.fullmatch(_DIGESTS.get(match[1], ".*"), match[2]):
            detail = "Content-Digest must look like sha-256=:BASE64:, with the whole digest (RFC 9530)."
            raise Problem(400, detail, kind="bad-digest")
        rest = rest[match.end() :]
        if match[1] in _DIGESTS:
            wanted.append((match[1], base64.b64decode(match[2])))
    return wanted


def small(media_type: str) -> bytes:
    """A body of at most 16 KiB, whole. A Problem (400, 408, 411, 413, 415) says what is wrong with it."""
    if request.mimetype != media_type:
        raise Problem(415, f"Send the body as {media_type}.")
    length = declared_length(MAX_SMALL_BYTES)
    if length is None:
        raise Problem(411, "Send the body with a Content-Length.")
    return b"".join(stream(length=length, limit=MAX_SMALL_BYTES))


def json_object() -> dict[str, Any]:
    """The body as a JSON object. A Problem as ``small`` raises it, or 400."""
    try:
        document = json.loads(small("application/json").decode("utf-8"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Problem(400, "The body must be a JSON object in UTF-8.", kind="bad-json")
    return document
