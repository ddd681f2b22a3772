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
from dataclasses import replace
from typing import Any

import google_crc32c
from google.api_core.exceptions import GoogleAPICallError, from_http_response
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Blob
from requests import ConnectTimeout
from urllib3.exceptions import NewConnectionError

from service.storage.gcs.client import GcsClient
from service.storage.gcs.describe import NONSENSE, crc32c_text, from_blob, from_resource
from service.storage.gcs.errors import Stalled
from service.storage.store import (
    ChecksumMismatch,
    ObjectInfo,
    ObjectNotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)

log = logging.getLogger(__name__)

_CHUNK = 8 * 1024 * 1024  # a multiple of 256 KiB (performing-resumable-uploads#chunked-upload)
_SMALL = 2 * 1024 * 1024  # the library copies it up to three times, so this takes no more memory than a chunk
_MARK = "write"  # the custom metadata that names the write
_LOOK_SECONDS = 2.0  # that a look for the mark is repeated; the write's own budget may be used up by then
_OF_A_GATEWAY = frozenset({408, 502, 504})  # statuses that don't say whether the store has got the request


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
        self._failed: list[str] = []  # attempts that failed, for whatever reason
        self._lost = 0  # of those that could make the object: how many may have done so
        self._is_resumable = False  # then there is one object at most, whatever was lost

    def run(self, body: Iterator[bytes]) -> ObjectInfo:
        """Send it all. OutcomeUnknown: the object may be there. Any other error: it is not there (any more)."""
        try:
            info = self._write(body)
            writes = self._lost + 1
        except StorageError as error:
            if not self._lost and not (self._failed and isinstance(error, PreconditionFailed | _SessionLost)):
                raise
            info = self._find_mine(error)
            writes = self._lost
        if not self._fits(info):
            self._take_back(info)
        # Where an object is replaced, the precondition excludes a second write.
        return replace(info, maybe_twice=writes > 1 and self._generation == 0 and not self._is_resumable)

    def _write(self, body: Iterator[bytes]) -> ObjectInfo:
        chunks = self._chunks(body)
        chunk, last = next(chunks)
        # Without a precondition only a resumable upload may be repeated (retry-strategy#idempotency).
        if last and len(chunk) <= _SMALL and self._generation is not None:
            return self._client.call_bucket(lambda: self._send_whole(chunk), failed=self._failed)
        self._is_resumable = True
        session = self._client.call_bucket(self._start, is_short=True)
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
        with self._noting_lost():
            blob.upload_from_string(
                bytes(data),
                self._content_type,
                if_generation_match=self._generation,
                checksum=None,
                **self._client.once,
            )
            return self._made(from_blob(blob), blob.metadata)

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
        is_last = not span.endswith("*")
        if is_last:
            # The hash of the whole object goes with the last request: the store then refuses what is wrong by itself.
            headers["X-Goog-Hash"] = f"crc32c={crc32c_text(self._crc32c)}"
        with self._noting_lost() if is_last else contextlib.nullcontext():
            response = self._client.connected().session.put(
                session, data, headers=headers, timeout=self._client.timeout
            )
            if response.ok and response.status_code != 308:
                resource = response.json()
                return self._made(from_resource(self._name, resource), resource.get("metadata"))
            if response.status_code not in (308, 404, 410):
                raise from_http_response(response)  # type: ignore[no-untyped-call] # api-core is typed in parts
        if response.status_code != 308:
            raise _SessionLost("the object store lost the upload's session; send it again")
        # No Range means that nothing is stored (performing-resumable-uploads#status-check).
        match = re.fullmatch(r"bytes=0-([0-9]+)", response.headers.get("Range", ""))
        self._stored = int(match[1]) + 1 if match else 0
        if not begin <= self._stored <= self._size:
            raise StorageUnavailable("the object store lost a part of the upload; send it again")
        return None

    def _made(self, info: ObjectInfo, metadata: Any) -> ObjectInfo:
        """What a response describes. StorageMisconfigured where it is not what this write has made."""
        if not self._fits(info) and not self._is_mine(metadata):
            raise StorageMisconfigured("this is not an object store: it describes another object than the one sent")
        return info

    def _is_mine(self, metadata: Any) -> bool:
        return isinstance(metadata, dict) and metadata.get(_MARK) == self._mark

    def _fits(self, info: ObjectInfo) -> bool:
        return (info.size, info.crc32c) == (self._size, self._crc32c)

    @contextlib.contextmanager
    def _noting_lost(self) -> Iterator[None]:
        """Around a request that can make the object: note it if its error leaves open whether it did."""
        try:
            yield
        except Exception as error:
            self._lost += _is_lost(error)
            raise

    def _find_mine(self, error: StorageError) -> ObjectInfo:
        """The object, if this write has made it. Else ``error``, or OutcomeUnknown where a response was lost.

        The object that is not there may still come, or may have been seen by another request and replaced or deleted.
        """
        try:
            blob = self._client.look(self._name, budget=min(_LOOK_SECONDS, self._client.retry_budget))
            if self._is_mine(blob.metadata):
                return from_blob(blob)
        except ObjectNotFound:
            pass
        except (StorageError, *NONSENSE) as other:
            log.info("the object of a failed upload could not be looked for: %s", other)
        if self._lost:
            raise OutcomeUnknown(f"an upload may have been stored: {error}") from error
        raise error

    def _take_back(self, info: ObjectInfo) -> None:
        """Delete what is wrong."""
        try:
            self._client.delete(self._name, info.generation)
        except StorageError as error:  # it is still there, or another request has seen it and replaced or deleted it
            raise OutcomeUnknown(f"an upload was stored wrong, and could not be deleted: {error}") from error
        raise ChecksumMismatch("the object store has something else than what was sent; it was deleted again")

    def _cancel(self, session: str) -> None:
        """Delete what has arrived (performing-resumable-uploads#cancel-upload). Else the store does so after a week."""

        def delete() -> None:
            self._client.connected().session.delete(session, timeout=self._client.timeout)

        try:
            self._client.call(delete, budget=0)
        except StorageError as error:
            log.info("an upload was left to expire: %s", error)


def _is_lost(error: Exception) -> bool:
    """Whether the request may have taken effect: no response of the store says that it did not."""
    if isinstance(error, GoogleAPICallError):
        code = int(error.code or 0)
        return code < 400 or code in _OF_A_GATEWAY
    # These were not sent: requests keeps urllib3's error, and that its reason.
    cause = error.args[0] if error.args else None
    not_connected = isinstance(getattr(cause, "reason", cause), NewConnectionError)
    return not (not_connected or isinstance(error, ConnectTimeout | GoogleAuthError))
