"""Request bodies: files as a stream that is checked while it passes, JSON as a small object.

werkzeug would spool larger bodies to a temporary file, and there is no disk to write to: the raw stream is taken.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from flask import request

from service.http.errors import Problem

CHUNK = 256 * 1024  # bytes held for each transfer on the way in
MAX_JSON_BYTES = 16 * 1024  # the server hands over such bodies only when they have arrived

_DIGESTS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}  # RFC 9530 §5: the active algorithms


# A dictionary's member that is a byte sequence, perhaps with parameters (RFC 9651 §3.2, §3.3.5, §3.1.2), and its comma.
_MEMBER = re.compile(
    r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):"
    r"(?:;\x20*[a-z*][a-z0-9_.*-]*(?:=(?:\"(?:[\x20!#-\[\]-~]|\\[\"\\])*\"|[A-Za-z0-9*?:+/=._~!#$%&'^`|-]*))?)*"
    r"[ \t]*(?:,[ \t]*(?=[^ \t])|$)"
)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


def declared_length(limit: int) -> int | None:
    """The body's length as the client declares it; None for a chunked body. Over ``limit`` it is a 413 Problem."""
    raw = request.environ.get("CONTENT_LENGTH") or ""
    if not raw:
        return None if "HTTP_TRANSFER_ENCODING" in request.environ else 0
    length = int(raw) if re.fullmatch(r"[0-9]{1,4000}", raw) else -1
    if length < 0:
        raise Problem(400, "Content-Length must be a number of bytes.")
    if length > limit:
        raise Problem(413, f"At most {limit} bytes are taken; this is {length}.")
    return length


def stream(*, length: int | None, limit: int) -> Iterator[bytes]:
    """The request's body in chunks of at most 256 KiB, checked against what the client said about it.

    ``length`` is what was declared (None: chunked, cut off at ``limit``). Problems are raised where the fault shows,
    at the latest before the iterator ends, so that a store that takes only whole bodies keeps none that is wrong: 413
    over the limit, 400 for a body that ends early or does not fit its ``Content-Digest`` (RFC 9530), 408 when it comes
    too slowly. A malformed Content-Digest is a 400 at once, a body with a Content-Encoding a 415.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        # RFC 9110 §15.5.16. What is kept is what was sent, and nobody is told later that it was packed.
        raise Problem(415, "Send the body without a Content-Encoding.", headers={"Accept-Encoding": "identity"})
    return _checked(request.environ, length, limit, _wanted_digests(request.headers.get("Content-Digest")))


def _checked(
    environ: Mapping[str, Any], length: int | None, limit: int, wanted: list[tuple[str, _Hash, bytes]]
) -> Iterator[bytes]:
    source = environ["wsgi.input"]
    progress = getattr(environ.get("service.in_flight"), "progress", None)
    received = 0
    while length is None or received < length:
        chunk = _read(source, CHUNK if length is None else min(CHUNK, length - received))
        if not chunk:
            break
        received += len(chunk)
        if received > limit:
            raise Problem(413, f"At most {limit} bytes are taken.")
        for _, digest, _ in wanted:
            digest.update(chunk)
        if progress is not None:
            progress()
        yield chunk
    if length is not None and received < length:
        raise Problem(400, f"The body ended after {received} of {length} bytes.", kind="cut-off")
    for name, digest, expected in wanted:
        if not hmac.compare_digest(digest.digest(), expected):
            raise Problem(400, f"The body does not fit the {name} of its Content-Digest.", kind="wrong-digest")


def _read(source: Any, size: int) -> bytes:
    try:
        return bytes(source.read(size))
    except TimeoutError:
        raise
    except OSError as error:
        raise Problem(400, "The connection broke while the body was on its way.", kind="cut-off") from error
    except Exception as error:
        # The server's own errors for a malformed chunked body; they share no base class but are the client's fault.
        if type(error).__module__.startswith("gunicorn.http"):
            raise Problem(400, "The body's chunked framing is broken.", kind="cut-off") from error
        raise


def _wanted_digests(header: str | None) -> list[tuple[str, _Hash, bytes]]:
    """The digests of a ``Content-Digest`` header that can be checked; unknown algorithms are passed over (RFC 9530)."""
    wanted: list[tuple[str, _Hash, bytes]] = []
    rest = (header or "").strip(" \t")
    while rest:
        match = _MEMBER.match(rest)
        if not match:
            raise Problem(400, "Content-Digest must look like sha-256=:BASE64: (RFC 9530).", kind="bad-digest")
        rest = rest[match.end() :]
        name = match[1]
        if name not in _DIGESTS:
            continue
        digest = _DIGESTS[name]()
        try:
            expected = base64.b64decode(match[2], validate=True)
        except binascii.Error:
            raise Problem(400, f"The {name} of Content-Digest is no base64.", kind="bad-digest") from None
        if len(expected) != digest.digest_size:
            raise Problem(400, f"The {name} of Content-Digest has the wrong length.", kind="bad-digest")
        wanted.append((name, digest, expected))
    return wanted


def json_object() -> dict[str, Any]:
    """The body as a JSON object of at most 16 KiB. A Problem (400, 411, 413, 415) says what is wrong with it."""
    if request.mimetype != "application/json":
        raise Problem(415, "Send application/json.")
    length = declared_length(MAX_JSON_BYTES)
    if length is None:
        raise Problem(411, "Send the body with a Content-Length.")
    raw = b"".join(stream(length=length, limit=MAX_JSON_BYTES))
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Problem(400, "The body is no JSON in UTF-8.", kind="bad-json") from None
    if not isinstance(document, dict):
        raise Problem(400, "The body must be a JSON object.", kind="bad-json")
    return document
