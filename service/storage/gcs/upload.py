"""One upload: in one request where it is small, else resumable, in chunks.

Every object carries a mark of the write that made it. After a lost response the mark shows whether "precondition
failed" is due to this write or to another one.

The library sends a small object, and begins a resumable upload; its chunks are sent here. The library's own BlobWriter
can't cancel the session (its ``terminate`` addresses another URL), can't go on where the store kept a part, and does
not say what it has made.
"""

import contextlib
import logging
import mmap
import re
import secrets
from collections.abc import Iterator
from typing import Any

import google_crc32c
from google.api_core.exceptions import from_http_response
from google.cloud.storage import Blob

from service.storage.gcs.client import GcsClient
from service.storage.gcs.describe import crc32c_text, from_blob, from_resource
from service.storage.gcs.errors import Stalled
from service.storage.store import (
    ChecksumMismatch,
    ObjectInfo,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)

log = logging.getLogger(__name__)

_CHUNK = 8 * 1024 * 1024  # a multiple of 256 KiB (performing-resumable-uploads#chunked-upload)
_SMALL = 2 * 1024 * 1024  # the library copies it up to three times, so this takes no more memory than a chunk
_MARK = "seatrial-write"  # the custom metadata that names the write


class _SessionLost(StorageUnavailable):
    """The store does not know the session: it has expired, or ended."""


class GcsUpload:
    """One write of the object ``name``. ``generation``: see ObjectStore.put."""

    def __init__(self, client: GcsClient, name: str, *, content_type: str, generation: int | None) -> None:
        if not re.fullmatch(r"[ -~]{1,255}", content_type):
            raise ValueError("a content type is printable ASCII")
        self._client, self._name = client, name
        self._content_type = content_type
        self._generation = generation
        self._mark = secrets.token_hex(8)
        # Not from malloc, which keeps what threads give back: the system has this again when the upload ends.
        self._room = memoryview(mmap.mmap(-1, _CHUNK))
        self._crc32c = 0
        self._size = 0  # bytes taken from the body
        self._stored = 0  # of those, how many the store has of a resumable upload
        self._failed: list[str] = []  # attempts whose effect is not known

    def run(self, body: Iterator[bytes]) -> ObjectInfo:
        """Send it all. Where this raises, no object was made, or it was deleted again."""
        try:
            info = self._write(body)
        except (PreconditionFailed, _SessionLost):
            if not self._failed or not (mine := self._find_mine()):
                raise
            info = mine
        if (info.size, info.crc32c) != (self._size, self._crc32c):
            with contextlib.suppress(ObjectNotFound, PreconditionFailed):  # replaced already
                self._client.delete(self._name, info.generation)
            raise ChecksumMismatch("the object store has something else than what was sent; it was deleted again")
        return info

    def _write(self, body: Iterator[bytes]) -> ObjectInfo:
        chunks = self._chunks(body)
        chunk, last = next(chunks)
        # Without a precondition only a resumable upload may be repeated (retry-strategy#idempotency).
        if last and len(chunk) <= _SMALL and self._generation is not None:
            return self._client.call_bucket(lambda: self._send_whole(chunk), failed=self._failed)
        session = self._client.call_bucket(self._start)
        try:
            while (info := self._send(session, chunk, last=last)) is None:
                chunk, last = next(chunks)
        except BaseException:
            self._cancel(session)
            raise
        return info

    def _chunks(self, body: Iterator[bytes]) -> Iterator[tuple[memoryview, bool]]:
        """Chunks of 8 MiB, and whether it is the last, which alone may be smaller, or empty. Each replaces the last."""
        filled = 0
        for piece in body:
            self._crc32c = google_crc32c.extend(self._crc32c, piece)
            rest = memoryview(piece)
            while rest:
                if filled == _CHUNK:  # more comes, so it is not the last
                    self._size += filled
                    yield self._room, False
                    filled = 0
                taken = min(len(rest), _CHUNK - filled)
                self._room[filled : filled + taken] = rest[:taken]
                filled += taken
                rest = rest[taken:]
        self._size += filled
        yield self._room[:filled], True

    def _send_whole(self, data: memoryview) -> ObjectInfo:
        """Metadata and body in one request, refused where the checksum is wrong (uploading-objects#multipart)."""
        blob = self._blob()
        blob.crc32c = crc32c_text(self._crc32c)
        blob.upload_from_string(
            bytes(data), self._content_type, if_generation_match=self._generation, checksum=None, **self._client.once
        )
        return from_blob(blob)

    def _start(self) -> Any:
        """A session's URL (performing-resumable-uploads#initiate-session). The precondition is checked here too."""
        return self._blob().create_resumable_upload_session(
            self._content_type, if_generation_match=self._generation, **self._client.once
        )

    def _blob(self) -> Blob:
        blob = self._client.blob(self._name)
        blob.content_type, blob.metadata = self._content_type, {_MARK: self._mark}
        return blob

    def _send(self, session: str, chunk: memoryview, *, last: bool) -> ObjectInfo | None:
        """Send one chunk; the object if that ended the upload. The budget begins anew whenever something arrived."""
        begin = self._size - len(chunk)
        while True:
            earlier, before = len(self._failed), self._stored

            def step(earlier: int = earlier, before: int = before) -> ObjectInfo | None:
                if len(self._failed) > earlier:  # how much of it arrived? (#status-check)
                    info = self._put(session, b"", "bytes */*", begin)
                    if info or self._stored > before:
                        return info
                rest = chunk[self._stored - begin :]
                span = f"{self._stored}-{self._stored + len(rest) - 1}" if rest else "*"
                info = self._put(session, rest, f"bytes {span}/{self._size if last else '*'}", begin)
                if not info and self._stored <= before:
                    raise Stalled("the object store takes nothing more of the upload")
                return info

            info = self._client.call(step, failed=self._failed)
            if info or (self._stored == self._size and not last):
                return info

    def _put(self, session: str, data: Any, span: str, begin: int) -> ObjectInfo | None:
        """One request of the session, with bytes or a memoryview. The object; None where the upload is not complete."""
        headers = {"Content-Range": span, "Content-Type": self._content_type}
        if not span.endswith("*"):
            # The hash of the whole object goes with the last request: the store then refuses what is wrong by itself.
            headers["X-Goog-Hash"] = f"crc32c={crc32c_text(self._crc32c)}"
        response = self._client.connected().session.put(session, data, headers=headers, timeout=self._client.timeout)
        if response.status_code in (404, 410):
            raise _SessionLost("the object store lost the upload's session; send it again")
        if response.status_code != 308:
            if not response.ok:
                raise from_http_response(response)  # type: ignore[no-untyped-call] # api-core is typed in parts
            return from_resource(self._name, response.json())
        # No Range means that nothing is stored (performing-resumable-uploads#status-check).
        match = re.fullmatch(r"bytes=0-([0-9]+)", response.headers.get("Range", ""))
        self._stored = int(match[1]) + 1 if match else 0
        if not begin <= self._stored <= self._size:
            raise StorageUnavailable("the object store lost a part of the upload; send it again")
        return None

    def _find_mine(self) -> ObjectInfo | None:
        """The object, if this write has made it: the response was lost, not the object."""
        try:
            blob = self._client.look(self._name)
        except ObjectNotFound:
            return None
        return from_blob(blob) if (blob.metadata or {}).get(_MARK) == self._mark else None

    def _cancel(self, session: str) -> None:
        """Delete what has arrived (performing-resumable-uploads#cancel-upload). Else the store does so after a week."""

        def delete() -> None:
            self._client.connected().session.delete(session, timeout=self._client.timeout)

        try:
            self._client.call(delete, budget=0)
        except StorageError as error:
            log.info("an upload was left to expire: %s", error)
