"""One upload: in one request where it is small, else resumable, in chunks.

What arrived is never sent again blindly. Every object carries a mark of the write that made it, so that after a lost
answer it can be told whether "precondition failed" means somebody else's write or our own.
"""

import json
import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import google_crc32c

from service.storage.gcs.api import Api, Broken, Reply, crc32c_from, crc32c_text
from service.storage.store import ChecksumMismatch, PreconditionFailed, StorageError, StorageUnavailable

log = logging.getLogger(__name__)

_BLOCK = 256 * 1024  # a chunk is a multiple of this (performing-resumable-uploads#chunked-upload)
_CHUNK_BLOCKS = 32  # 8 MiB: held in memory until the store has it
_MARK = "seatrial-write"  # the custom metadata that names the write


class Upload:
    """One write of one object.

    ``generation``: see ObjectStore.put; without one the upload is always resumable, since only that may be repeated.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        *,
        content_type: str,
        generation: int | None,
        metadata: Mapping[str, str] | None,
    ) -> None:
        if not re.fullmatch(r"[ -~]{1,255}", content_type):
            raise ValueError("a content type is printable ASCII")
        self._api = api
        self._name = name
        self._content_type = content_type
        self._mark = secrets.token_hex(8)
        self._resource = {
            "name": name,
            "contentType": content_type,
            "metadata": {**(metadata or {}), _MARK: self._mark},
        }
        self._condition = {} if generation is None else {"ifGenerationMatch": str(generation)}
        self._crc32c = 0
        self._size = 0  # of what was taken from the body
        self._stored = 0  # of that, what a resumable upload has

    def run(self, body: Iterator[bytes]) -> dict[str, Any]:
        """The object's resource. Where this raises, no object was made, or it is gone again."""
        chunks = self._chunks(body)
        blocks, last = next(chunks)
        if last and self._condition:
            return self._checked(self._send_whole(blocks))
        session = self._start()
        try:
            resource = self._send(session, blocks, last=last)
            while resource is None:
                blocks.clear()  # before the next are taken
                blocks, last = next(chunks)
                resource = self._send(session, blocks, last=last)
        except BaseException:
            self._cancel(session)
            raise
        return self._checked(resource)

    def _chunks(self, body: Iterator[bytes]) -> Iterator[tuple[list[bytes], bool]]:
        """Chunks of 8 MiB as lists of blocks, and whether it is the last, which alone may be smaller, or empty."""
        held: list[bytes] = []
        for block in _blocks(body):
            if len(held) == _CHUNK_BLOCKS:
                yield held, False
                held = []
            self._crc32c = google_crc32c.extend(self._crc32c, block)
            self._size += len(block)
            held.append(block)
        yield held, True

    def _send_whole(self, blocks: Sequence[bytes]) -> dict[str, Any]:
        """Metadata and body in one request, refused where the checksum is wrong (uploading-objects#multipart)."""
        boundary = secrets.token_hex(16)
        resource = json.dumps({**self._resource, "crc32c": crc32c_text(self._crc32c)})
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{resource}\r\n"
            f"--{boundary}\r\nContent-Type: {self._content_type}\r\n\r\n"
        )
        reply = self._api.request(
            "POST",
            self._api.uploads,
            {"uploadType": "multipart", **self._condition},
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            body=[head.encode(), *blocks, f"\r\n--{boundary}--\r\n".encode()],
            expect=(200, 412),
        )
        if reply.status == 200:
            return dict(reply.json())
        return self._mine_after_all(maybe=reply.repeated)

    def _start(self) -> str:
        """A session's URL (performing-resumable-uploads#initiate-session). The precondition is looked at here too."""
        reply = self._api.request(
            "POST",
            self._api.uploads,
            {"uploadType": "resumable", **self._condition},
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Type": self._content_type,
            },
            body=[json.dumps(self._resource).encode()],
            expect=(200, 201, 412),
        )
        if reply.status == 412:
            raise self._taken()
        return reply.headers["Location"]

    def _send(self, session: str, blocks: Sequence[bytes], *, last: bool) -> dict[str, Any] | None:
        """Send one chunk. The resource if that ended the upload.

        After a failure the session is asked how much it has, and the rest is sent
        (performing-resumable-uploads#status-check). The budget begins anew whenever something arrived.
        """
        pauses = self._api.pauses()
        begin = self._size - sum(map(len, blocks))
        ask = repeated = False
        while True:
            try:
                rest = [] if ask else _skip(blocks, self._stored - begin)
                headers = self._headers(rest, last=last and not ask)
                reply = self._api.attempt("PUT", session, headers=headers, body=rest)
                if reply.status != 308:
                    return self._ended(reply, repeated=repeated)
                if self._progress(reply, begin):
                    pauses = self._api.pauses()
                elif not ask:
                    raise Broken("the object store takes nothing more of the upload")  # noqa: TRY301 -- as any failure
                if self._stored == self._size and not last:
                    return None
                ask = False
            except Broken as broken:
                if not pauses.wait():
                    raise
                log.info("taking the upload up again: %s", broken)
                ask = repeated = True

    def _progress(self, reply: Reply, begin: int) -> bool:
        """Note how much the store has; whether that is more than before."""
        before, self._stored = self._stored, _stored(reply)
        if not begin <= self._stored <= self._size:
            raise StorageUnavailable("the object store lost a part of the upload; send it again")
        return self._stored > before

    def _headers(self, rest: Sequence[bytes | memoryview], *, last: bool) -> dict[str, str]:
        length = sum(map(len, rest))
        span = f"{self._stored}-{self._stored + length - 1}" if length else "*"
        if not last:
            return {"Content-Range": f"bytes {span}/*"}
        # The hash of the whole object goes with the last request: the store then refuses what is wrong by itself.
        crc32c = crc32c_text(self._crc32c)
        return {"Content-Range": f"bytes {span}/{self._size}", "X-Goog-Hash": f"crc32c={crc32c}"}

    def _ended(self, reply: Reply, *, repeated: bool) -> dict[str, Any]:
        match reply.status:
            case 200 | 201:
                return dict(reply.json())
            case 412:
                return self._mine_after_all(maybe=repeated)
            case 404 | 410:
                if (resource := self._find()) is not None:
                    return resource
                raise StorageUnavailable("the object store lost the upload's session; send it again")
        raise self._api.error(reply)

    def _mine_after_all(self, *, maybe: bool) -> dict[str, Any]:
        """What is there, if a lost answer told of our own write; else PreconditionFailed."""
        resource = self._find() if maybe else None
        if resource is None:
            raise self._taken()
        return resource

    def _find(self) -> dict[str, Any] | None:
        path = f"{self._api.objects}/{quote(self._name, safe='')}"
        reply = self._api.request("GET", path, {}, expect=(200, 404))
        if reply.status == 404:
            return None
        resource = dict(reply.json())
        return resource if resource.get("metadata", {}).get(_MARK) == self._mark else None

    def _taken(self) -> PreconditionFailed:
        return PreconditionFailed(f"the object is not of generation {self._condition.get('ifGenerationMatch')}")

    def _checked(self, resource: dict[str, Any]) -> dict[str, Any]:
        """The resource, if it is of what was sent. Else just this write is taken back."""
        try:
            stored = (int(resource["size"]), crc32c_from(resource["crc32c"]))
        except (KeyError, TypeError, ValueError):
            stored = (-1, -1)
        if stored == (self._size, self._crc32c):
            return resource
        path = f"{self._api.objects}/{quote(self._name, safe='')}"
        query = {"ifGenerationMatch": str(resource.get("generation", ""))}
        self._api.request("DELETE", path, query, expect=(200, 204, 404, 412))
        raise ChecksumMismatch("the object store has something else than what was sent; it was deleted again")

    def _cancel(self, session: str) -> None:
        """Nothing is left of it (performing-resumable-uploads#cancel-upload). Else the store forgets it in a week."""
        try:
            self._api.attempt("DELETE", session)
        except StorageError as error:
            log.info("an upload was left to expire: %s", error)


def _blocks(body: Iterator[bytes]) -> Iterator[bytes]:
    """``body`` in blocks of 256 KiB, whatever pieces it comes in; the last may be smaller."""
    pending = bytearray()
    for piece in body:
        if len(piece) == _BLOCK and not pending:
            yield piece
            continue
        rest = memoryview(piece)
        while rest:
            taken = rest[: _BLOCK - len(pending)]
            pending += taken
            rest = rest[len(taken) :]
            if len(pending) == _BLOCK:
                yield bytes(pending)
                pending.clear()
    if pending:
        yield bytes(pending)


def _skip(blocks: Sequence[bytes], count: int) -> list[bytes | memoryview]:
    """The blocks without their first ``count`` bytes."""
    rest: list[bytes | memoryview] = []
    for block in blocks:
        if count < len(block):
            rest.append(memoryview(block)[count:] if count else block)
        count = max(0, count - len(block))
    return rest


def _stored(reply: Reply) -> int:
    """How many bytes a 308 says are stored; no Range means none (performing-resumable-uploads#status-check)."""
    match = re.fullmatch(r"bytes=0-([0-9]+)", reply.headers.get("Range", ""))
    return int(match[1]) + 1 if match else 0
