"""One download: just one generation, taken up again where it breaks, its checksum compared at the end."""

import logging
from collections.abc import Iterator

import google_crc32c
import urllib3

from service.storage.gcs.api import Api, Broken, broken
from service.storage.store import ChecksumMismatch, ObjectInfo, ObjectNotFound, StorageUnavailable

log = logging.getLogger(__name__)

_CHUNK = 256 * 1024


class Download(Iterator[bytes]):
    """The bytes from ``start`` to ``end``. The first are here when the constructor returns.

    Where the whole object is read and does not fit its checksum, the last bytes are never handed out: ChecksumMismatch
    comes instead, so that whoever counts sees a transfer cut short. Else StorageUnavailable, ObjectNotFound.
    """

    def __init__(self, api: Api, path: str, info: ObjectInfo, start: int, end: int) -> None:
        self._api, self._path, self._info = api, path, info
        self._at, self._end = start, end
        self._crc32c = 0 if (start, end) == (0, info.size) else None
        self._pauses = api.pauses()
        self._response: urllib3.BaseHTTPResponse | None = None
        self._first = b""
        if start < end:
            self._first = self._read()
        elif end == 0:
            self._open()  # an empty object: is it still there?
            self.close()

    def __next__(self) -> bytes:
        if self._first:
            chunk, self._first = self._first, b""
            return chunk
        if self._at == self._end:
            self.close()
            raise StopIteration
        return self._read()

    def close(self) -> None:
        """End it. The connection is used again only if nothing of the answer is left in it."""
        response, self._response = self._response, None
        if response is not None:
            if self._at < self._end:
                response.close()
            response.release_conn()

    def _read(self) -> bytes:
        while True:
            try:
                chunk = self._read_some()
            except Broken as failure:
                self.close()
                if not self._pauses.wait():
                    raise
                log.info("taking a download up again at byte %d: %s", self._at, failure)
                continue
            self._pauses = self._api.pauses()
            self._at += len(chunk)
            if self._crc32c is not None:
                self._crc32c = google_crc32c.extend(self._crc32c, chunk)
                if self._at == self._end and self._crc32c != self._info.crc32c:
                    self.close()
                    raise ChecksumMismatch("what the object store sent does not fit its checksum")
            if self._at == self._end:
                self.close()
            return chunk

    def _read_some(self) -> bytes:
        response = self._response or self._open()
        try:
            chunk = response.read(min(_CHUNK, self._end - self._at), decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise broken(error) from error
        if not chunk:
            raise Broken("the download ended early")
        return chunk

    def _open(self) -> urllib3.BaseHTTPResponse:
        """Ask for what is left (json_api/v1/objects/get, alt=media)."""
        whole = (self._at, self._end) == (0, self._info.size)
        reply = self._api.request(
            "GET",
            self._path,
            {"alt": "media", "generation": str(self._info.generation)},
            headers={} if whole else {"Range": f"bytes={self._at}-{self._end - 1}"},
            expect=(200, 206, 404),
            stream=True,
        )
        if reply.status == 404:
            raise ObjectNotFound("it was deleted or replaced meanwhile")
        self._response = reply.raw
        if reply.status != (200 if whole else 206):
            self.close()
            raise StorageUnavailable("the object store did not send the range that was asked for")
        return reply.raw
