"""One upload: in one request where it is small, else resumable, in chunks.

Every object carries a mark of the write that made it, so that after a lost answer it can be told whether "precondition
failed" means somebody else's write or our own.

The library begins a resumable upload; its chunks are sent here. The library's own BlobWriter can't cancel the session
(its ``terminate`` addresses another URL), can't go on where the store kept a part, and does not say what it has made.
A small object is sent here as well: the library would copy it twice, and compute its checksum again.
"""

import json
import logging
import mmap
import re
import secrets
from collections.abc import Iterator, Mapping

import google_crc32c
from requests import Response

from service.storage.gcs.client import Client
from service.storage.gcs.describe import crc32c_text, from_blob, from_resource
from service.storage.gcs.errors import Stalled, raise_refusal
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
_MARK = "seatrial-write"  # the custom metadata that names the write


class _SessionLost(StorageUnavailable):
    """Nobody knows the session: it has expired, or ended."""


class _Parts:
    """A request's body that is sent from where it is. Its length and an iterator are what ``requests`` asks for."""

    def __init__(self, *parts: bytes | memoryview) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)  # type: ignore[arg-type] # a socket takes both


class Upload:
    """One write of the object ``name``. ``generation``: see ObjectStore.put."""

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        content_type: str,
        generation: int | None,
        metadata: Mapping[str, str] | None,
    ) -> None:
        if not re.fullmatch(r"[ -~]{1,255}", content_type):
            raise ValueError("a content type is printable ASCII")
        self._client, self._name = client, name
        self._content_type = content_type
        self._generation = generation
        self._mark = secrets.token_hex(8)
        self._metadata = {**(metadata or {}), _MARK: self._mark}
        # Of the system, which has it back at the end of the upload; malloc would keep it for the thread.
        self._room = mmap.mmap(-1, _CHUNK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._crc32c = 0
        self._size = 0  # of what was taken from the body
        self._stored = 0  # of that, what a resumable upload has
        self._failed: list[str] = []  # attempts whose effect nobody knows

    def run(self, body: Iterator[bytes]) -> ObjectInfo:
        """What was made. Where this raises, no object was made, or it is gone again."""
        try:
            info = self._write(body)
        except (PreconditionFailed, _SessionLost):
            mine = self._find_mine() if self._failed else None
            if mine is None:
                raise
            info = mine
        finally:
            self._room.madvise(mmap.MADV_DONTNEED)  # now, whoever still holds it: the stack of an exception may
        if (info.size, info.crc32c) != (self._size, self._crc32c):
            try:
                self._client.delete(self._name, info.generation)  # just this write
            except (ObjectNotFound, PreconditionFailed):
                log.info("what was stored wrongly is gone already")
            raise ChecksumMismatch("the object store has something else than what was sent; it was deleted again")
        return info

    def _write(self, body: Iterator[bytes]) -> ObjectInfo:
        chunks = self._chunks(body)
        chunk, last = next(chunks)
        # Without a precondition only a resumable upload may be repeated (retry-strategy#idempotency).
        if last and self._generation is not None:
            return self._client.call_bucket(lambda: self._send_whole(chunk), failed=self._failed)
        session = self._client.call_bucket(self._start)
        try:
            while True:
                info = self._send(session, chunk, last=last)
                if info is not None:
                    return info
                chunk, last = next(chunks)
        except BaseException:
            self._cancel(session)
            raise

    def _chunks(self, body: Iterator[bytes]) -> Iterator[tuple[memoryview, bool]]:
        """Chunks of 8 MiB, and whether it is the last, which alone may be smaller, or empty. Each replaces the last."""
        held, filled = memoryview(self._room), 0
        for piece in body:
            self._crc32c = google_crc32c.extend(self._crc32c, piece)
            rest = memoryview(piece)
            while rest:
                if filled == _CHUNK:  # more comes, so it is not the last
                    self._size += filled
                    yield held, False
                    filled = 0
                taken = min(len(rest), _CHUNK - filled)
                held[filled : filled + taken] = rest[:taken]
                filled += taken
                rest = rest[taken:]
        self._size += filled
        yield held[:filled], True

    def _send_whole(self, data: memoryview) -> ObjectInfo:
        """Metadata and body in one request, refused where the checksum is wrong (uploading-objects#multipart)."""
        boundary = secrets.token_hex(16)
        resource = {
            "name": self._name,
            "contentType": self._content_type,
            "metadata": self._metadata,
            "crc32c": crc32c_text(self._crc32c),
        }
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
            f"--{boundary}\r\nContent-Type: {self._content_type}\r\n\r\n"
        )
        answer = self._client.session().post(
            f"{self._client.url('upload/storage')}?uploadType=multipart&prettyPrint=false&ifGenerationMatch={self._generation}",
            data=_Parts(head.encode(), data, f"\r\n--{boundary}--".encode()),
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            timeout=self._client.timeout,
        )
        raise_refusal(answer)
        return from_resource(self._name, answer.json())

    def _start(self) -> str:
        """A session's URL (performing-resumable-uploads#initiate-session). The precondition is looked at here too."""
        blob = self._client.blob(self._name)
        blob.content_type, blob.metadata = self._content_type, self._metadata
        url: str = blob.create_resumable_upload_session(
            self._content_type, if_generation_match=self._generation, **self._client.once
        )
        return url

    def _send(self, session: str, chunk: memoryview, *, last: bool) -> ObjectInfo | None:
        """Send one chunk; what was made if that ended the upload. The budget begins anew whenever something arrived."""
        begin = self._size - len(chunk)
        while True:
            earlier = len(self._failed)

            def step(earlier: int = earlier) -> Response:
                if len(self._failed) > earlier:  # how much of it arrived? (#status-check)
                    answer, moved = self._put(session, None, "bytes */*", begin)
                    if moved or answer.status_code != 308:
                        return answer
                rest = chunk[self._stored - begin :]
                span = f"{self._stored}-{self._stored + len(rest) - 1}" if rest else "*"
                answer, moved = self._put(session, rest, f"bytes {span}/{self._size if last else '*'}", begin)
                if answer.status_code == 308 and not moved:
                    raise Stalled("the object store takes nothing more of the upload")
                return answer

            answer = self._client.call(step, failed=self._failed)
            if answer.status_code != 308:
                return from_resource(self._name, answer.json())
            if self._stored == self._size and not last:
                return None

    def _put(self, session: str, data: memoryview | None, span: str, begin: int) -> tuple[Response, bool]:
        """One request of the session; whether the store has more than before."""
        headers = {"Content-Range": span}
        if not span.endswith("*"):
            # The hash of the whole object goes with the last request: the store then refuses what is wrong by itself.
            headers["X-Goog-Hash"] = f"crc32c={crc32c_text(self._crc32c)}"
        sent = _Parts(data) if data else b""
        answer = self._client.session().put(session, sent, headers=headers, timeout=self._client.timeout)
        if answer.status_code in (404, 410):
            raise _SessionLost("the object store lost the upload's session; send it again")
        if answer.status_code != 308:
            raise_refusal(answer)
            answer.json()  # where it is none, that is told as of any other call
            return answer, False
        # No Range means that nothing is stored (performing-resumable-uploads#status-check).
        match = re.fullmatch(r"bytes=0-([0-9]+)", answer.headers.get("Range", ""))
        before, self._stored = self._stored, int(match[1]) + 1 if match else 0
        if not begin <= self._stored <= self._size:
            raise StorageUnavailable("the object store lost a part of the upload; send it again")
        return answer, self._stored > before

    def _find_mine(self) -> ObjectInfo | None:
        """What is there, if it is of this write: the answer was lost, not the object."""
        try:
            blob = self._client.look(self._name)
        except ObjectNotFound:
            return None
        return from_blob(blob) if (blob.metadata or {}).get(_MARK) == self._mark else None

    def _cancel(self, session: str) -> None:
        """Nothing is left of it (performing-resumable-uploads#cancel-upload). Else the store forgets it in a week."""
        try:
            self._client.call(lambda: self._client.session().delete(session, timeout=self._client.timeout), budget=0)
        except StorageError as error:
            log.info("an upload was left to expire: %s", error)
