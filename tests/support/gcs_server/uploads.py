"""Uploads: in one request with metadata (multipart), and resumable sessions."""

import email.parser
import email.policy
import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.gcs_server.objects import (
    BLOCK,
    Body,
    Buckets,
    Refusal,
    StoredObject,
    check_name,
    check_preconditions,
    crc32c_text,
)

Read = Callable[[int], bytes]  # of the request's body

MAX_MULTIPART = 64 * 1024 * 1024  # this server's own limit: such a body is held in memory
_UPDATABLE = {"name", "bucket", "contentType", "crc32c", "metadata", "cacheControl", "storageClass"}


@dataclass
class Answer:
    """What a step of an upload is answered with: an object, or a status."""

    made: StoredObject | None = None
    status: int = 200
    headers: Mapping[str, str] | None = None


@dataclass
class Wanted:
    """What an object is to become, as its metadata says."""

    bucket: str
    name: str
    content_type: str
    metadata: Mapping[str, str]
    crc32c: str | None

    @classmethod
    def of(cls, bucket: str, resource: object, query: Mapping[str, str], media_type: str | None) -> "Wanted":
        """json_api/v1/objects/insert: the name stands in the query or in the resource."""
        if not isinstance(resource, dict) or set(resource) - _UPDATABLE:
            raise Refusal(400, "parseError", f"This server takes only {sorted(_UPDATABLE)} in an object's metadata")
        metadata = resource.get("metadata") or {}
        if not isinstance(metadata, dict) or not all(
            isinstance(part, str) for pair in metadata.items() for part in pair
        ):
            raise Refusal(400, "invalid", "Custom metadata must be strings")
        if sum(len(part.encode()) for pair in metadata.items() for part in pair) > 8 * 1024:
            raise Refusal(400, "invalid", "Custom metadata is larger than 8 KiB")  # docs/quotas#objects
        return cls(
            bucket,
            check_name(query.get("name") or resource.get("name")),
            resource.get("contentType") or media_type or "application/octet-stream",
            metadata,
            resource.get("crc32c"),
        )

    def check(self, body: Body, given: str | None = None) -> None:
        """data-validation#server-side: a write whose checksum does not fit is rejected."""
        is_now = crc32c_text(body.crc32c)
        for wanted in filter(None, (self.crc32c, given)):
            if wanted != is_now:
                message = f'Provided CRC32C "{wanted}" doesn\'t match calculated CRC32C "{is_now}".'
                raise Refusal(400, "invalid", message)


class Session:
    """A resumable upload (performing-resumable-uploads)."""

    def __init__(self, wanted: Wanted, query: Mapping[str, str], body: Body, declared: int | None) -> None:
        self.wanted, self.query, self.body, self.declared = wanted, query, body, declared
        self.made: StoredObject | None = None
        self.is_gone = False
        self.lock = threading.Lock()


class Uploads:
    """All sessions, and the uploads that need none."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._sessions: dict[str, Session] = {}

    def open_count(self) -> int:
        """Sessions that are neither finished nor cancelled."""
        return sum(not (session.made or session.is_gone) for session in list(self._sessions.values()))

    def multipart(self, bucket: str, query: Mapping[str, str], content_type: str, raw: bytes) -> Answer:
        """uploading-objects#multipart: exactly two parts, the metadata first."""
        resource, media_type, media = _parts(content_type, raw)
        wanted = Wanted.of(bucket, resource, query, media_type)
        body = Body(self._buckets.folder)
        body.append(media)
        wanted.check(body)
        return Answer(self._make(wanted, query, body))

    def start(self, bucket: str, query: Mapping[str, str], headers: Mapping[str, str], raw: bytes) -> Answer:
        """performing-resumable-uploads#initiate-session. A precondition is looked at here and again at the end."""
        try:
            resource = json.loads(raw) if raw else {}
        except ValueError:
            raise Refusal(400, "parseError", "Parse Error") from None
        wanted = Wanted.of(bucket, resource, query, headers.get("X-Upload-Content-Type"))
        check_preconditions(self._buckets.get(bucket).get(wanted.name), query, changes=True)
        declared = headers.get("X-Upload-Content-Length")
        session_id = secrets.token_urlsafe(24)
        self._sessions[session_id] = Session(
            wanted, query, Body(self._buckets.folder), int(declared) if declared is not None else None
        )
        return Answer(headers={"Location": session_id})

    def put(self, session_id: str, headers: Mapping[str, str], read: Read, length: int, after: int | None) -> Answer:
        """A chunk, or a question for the status. ``after``: the connection will break after so many bytes."""
        session = self._session(session_id)
        span = _content_range(headers.get("Content-Range"), length)
        with session.lock:
            if session.made is not None:
                return Answer(session.made)  # #status-check: 200 or 201 once it is complete
            if span is None or span.start is None:
                return self._ask(session, span, headers)
            return self._chunk(session, span, headers, read, length if after is None else min(length, after))

    def status(self, session_id: str) -> Answer:
        """How much is stored."""
        return self._incomplete(self._session(session_id))

    def cancel(self, session_id: str) -> Answer:
        """#cancel-upload: the answer is 499, and the session is gone."""
        session = self._session(session_id)
        with session.lock:
            if session.made is not None:
                raise Refusal(404, "notFound", "The upload is complete")
            session.is_gone = True
            session.body = Body(self._buckets.folder)
        return Answer(status=499)

    def forget_all(self) -> None:
        """As if every session had expired."""
        self._sessions.clear()

    def forget(self, session_id: str) -> None:
        """As if the session had expired."""
        self._session(session_id).is_gone = True

    def _session(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise Refusal(404, "notFound", "No such upload")
        if session.is_gone:
            raise Refusal(410, "gone", "The upload was cancelled or has expired")  # #handling_errors: start anew
        return session

    def _ask(self, session: Session, span: "_Span | None", headers: Mapping[str, str]) -> Answer:
        """#status-check. With a total that is all here, the upload ends (#chunked-upload, of an unknown size)."""
        if span is not None and span.total == session.body.size:
            return self._end(session, headers)
        return self._incomplete(session)

    def _chunk(self, session: Session, span: "_Span", headers: Mapping[str, str], read: Read, length: int) -> Answer:
        body, start = session.body, span.start or 0
        last = span.total is not None and span.end == span.total
        if session.declared is not None and span.total not in (None, session.declared):
            raise Refusal(400, "invalid", "The total differs from X-Upload-Content-Length")
        if not last and (span.end - start) % BLOCK:
            # #chunked-upload: a multiple of 256 KiB, but for the last
            raise Refusal(400, "invalid", "The number of bytes must be a multiple of 262144, but for the last request")
        if start > body.size:
            raise Refusal(400, "invalid", f"The upload offset is {start}, but {body.size} bytes are stored")
        # #resume-upload: what is stored already is ignored. Only whole multiples of 256 KiB are stored on the way.
        at = start
        while at < start + length:
            wanted = min(BLOCK - at % BLOCK, span.end - at)
            data = read(min(wanted, start + length - at))
            if len(data) < wanted:
                return self._incomplete(session)  # the connection broke
            if at + len(data) > body.size:
                body.append(data[max(0, body.size - at) :])
            at += len(data)
        if last and body.size == span.total:
            return self._end(session, headers)
        return self._incomplete(session)

    def _end(self, session: Session, headers: Mapping[str, str]) -> Answer:
        given = re.search(r"crc32c=([A-Za-z0-9+/=]+)", headers.get("X-Goog-Hash", ""))
        try:
            # The hash of the whole object may come with the last request, as Google's own clients send it.
            session.wanted.check(session.body, given[1] if given else None)
            session.made = self._make(session.wanted, session.query, session.body)
        except Refusal:
            session.is_gone = True
            raise
        return Answer(session.made)

    def _incomplete(self, session: Session) -> Answer:
        """#status-check: 308, Range names the last byte that is stored, and is missing where there is none."""
        size = session.body.size
        return Answer(status=308, headers={"Range": f"bytes=0-{size - 1}"} if size else {})

    def _make(self, wanted: Wanted, query: Mapping[str, str], body: Body) -> StoredObject:
        return self._buckets.put(
            wanted.bucket, wanted.name, body, query, content_type=wanted.content_type, metadata=wanted.metadata
        )


@dataclass
class _Span:
    """A Content-Range: from ``start`` (None where there are no bytes) to ``end`` (exclusive) of ``total``."""

    start: int | None
    end: int
    total: int | None


def _content_range(header: str | None, length: int) -> _Span | None:
    """#single-chunk-upload, #chunked-upload, #status-check. Without the header the body is the whole object."""
    if header is None:
        return _Span(0, length, length)
    match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", header)
    if not match:
        raise Refusal(400, "invalid", f"Failed to parse Content-Range header: {header}")
    total = None if match[3] == "*" else int(match[3])
    if match[1] is None:
        if length:
            raise Refusal(400, "invalid", "A status request has no body")
        return _Span(None, 0, total)
    start, end = int(match[1]), int(match[2]) + 1
    if end - start != length or (total is not None and end > total):
        raise Refusal(400, "invalid", "Content-Range does not fit Content-Length")
    return _Span(start, end, total)


def _parts(content_type: str, raw: bytes) -> tuple[Any, str | None, bytes]:
    """The metadata, the media part's type, and the media (RFC 2387, RFC 2046 §5.1)."""
    match = re.fullmatch(r'multipart/related; *boundary=(?:"([^"]+)"|([^\s;"]+))', content_type)
    if not match:
        raise Refusal(400, "badContent", "Content-Type must be multipart/related with a boundary")
    boundary = b"--" + (match[1] or match[2]).encode()
    end = raw.rfind(b"\r\n" + boundary + b"--")
    first = raw.find(boundary + b"\r\n")
    second = raw.find(b"\r\n" + boundary + b"\r\n", first)
    if first < 0 or second < 0 or end < second or raw[:first].strip():
        raise Refusal(400, "badContent", "Malformed multipart body")
    meta_type, metadata = _part(raw[first + len(boundary) + 2 : second])
    media_type, media = _part(raw[second + len(boundary) + 4 : end])
    if not (meta_type or "").startswith("application/json"):
        raise Refusal(400, "badContent", "The first part must be application/json")
    try:
        return json.loads(metadata), media_type, media
    except ValueError:
        raise Refusal(400, "parseError", "Parse Error") from None


def _part(raw: bytes) -> tuple[str | None, bytes]:
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        raise Refusal(400, "badContent", "A part without headers")
    headers = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + b"\r\n\r\n", headersonly=True)
    return headers["Content-Type"], body
