"""One download: one generation, taken up again where it breaks, its checksum compared at the end.

The library hands out a response only as a whole, or pushes it into a file. So the request is made here, in its session.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import google_crc32c

from service.storage.gcs.client import GcsClient
from service.storage.gcs.describe import from_blob, from_headers
from service.storage.gcs.errors import Stalled, raise_refusal
from service.storage.store import ChecksumMismatch, ObjectInfo, StorageUnavailable

if TYPE_CHECKING:
    import requests

_PIECE = 256 * 1024


class GcsDownload(Iterator[bytes]):
    """The bytes of the object ``name`` from ``start`` to ``end``, of the generation in ``info``.

    Without ``info`` all that is there now; ``info`` is known when the constructor returns. ``begin()`` comes next.

    Where the whole object is read and does not fit its checksum, the last bytes are never handed out: ChecksumMismatch
    comes instead, so that whoever counts sees a transfer cut short. Else StorageUnavailable, ObjectNotFound.
    """

    info: ObjectInfo

    def __init__(
        self, client: GcsClient, name: str, info: ObjectInfo | None = None, start: int = 0, end: int | None = None
    ) -> None:
        self._client, self._name = client, name
        self._response: requests.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._first = b""
        self.info = info or client.call(self._discover)
        self._at, self._end = start, self.info.size if end is None else end
        self._crc32c = 0 if (self._at, self._end) == (0, self.info.size) else None

    def begin(self) -> None:
        """Fetch the first bytes. ObjectNotFound if it was replaced or deleted meanwhile."""
        if self._at < self._end:
            self._first = self._read()
        elif self._end == 0:
            if self._response is None:
                self._client.call(self._open)  # an empty object: is it still there?
            self.close()

    def __next__(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
            return piece
        if self._at == self._end:
            raise StopIteration
        return self._read()

    def close(self) -> None:
        """End it. The connection is used again if nothing of the response is left in it."""
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def _read(self) -> bytes:
        piece = self._client.call(self._read_once)
        self._at += len(piece)
        if self._crc32c is not None:
            self._crc32c = google_crc32c.extend(self._crc32c, piece)
            if self._at == self._end and self._crc32c != self.info.crc32c:
                self.close()
                raise ChecksumMismatch("what the object store sent does not fit its checksum")
        if self._at == self._end:
            self.close()
        return piece

    def _read_once(self) -> bytes:
        if self._response is None:
            self._open()
        try:
            piece = next(self._pieces, b"")[: self._end - self._at]
        except BaseException:
            self.close()
            raise
        if not piece:
            self.close()
            raise Stalled("the download ended early")
        return piece

    def _discover(self) -> ObjectInfo:
        """Ask for whatever is there, and what that is. A response that does not say it is of no use."""
        response = self._ask("", {}, 200)
        info = from_headers(self._name, response.headers)
        if info is None:
            response.close()
            blob = self._client.blob(self._name)
            blob.reload(**self._client.once)
            return from_blob(blob)
        self._response, self._pieces = response, response.iter_content(_PIECE)
        return info

    def _open(self) -> None:
        """Ask for what is left."""
        whole = (self._at, self._end) == (0, self.info.size)
        part = {} if whole else {"Range": f"bytes={self._at}-{self._end - 1}"}
        response = self._ask(f"&generation={self.info.generation}", part, 200 if whole else 206)
        self._response, self._pieces = response, response.iter_content(_PIECE)

    def _ask(self, more: str, part: dict[str, str], status: int) -> "requests.Response":
        """json_api/v1/objects/get with alt=media."""
        response = self._client.session().get(
            f"{self._client.download_url(self._name)}?alt=media{more}",
            headers={"Accept-Encoding": "identity", **part},  # sizes and checksums are of what is stored
            stream=True,
            timeout=self._client.timeout,
        )
        raise_refusal(response)
        if response.status_code != status:
            response.close()
            raise StorageUnavailable("the object store did not send the range that was asked for")
        return response
