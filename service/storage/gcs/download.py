"""One download: just one generation, taken up again where it breaks, its checksum compared at the end.

The library hands out an answer only as a whole, or pushes it into a file. So the request is made here, in its session.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import google_crc32c
from google.api_core.exceptions import from_http_response
from google.cloud.storage import Bucket

from service.storage.gcs.client import Client
from service.storage.gcs.errors import Stalled
from service.storage.store import ChecksumMismatch, ObjectInfo, StorageUnavailable

if TYPE_CHECKING:
    import requests

_PIECE = 256 * 1024


class Download(Iterator[bytes]):
    """The bytes from ``start`` to ``end`` of the object ``name``. The first are here when the constructor returns.

    Where the whole object is read and does not fit its checksum, the last bytes are never handed out: ChecksumMismatch
    comes instead, so that whoever counts sees a transfer cut short. Else StorageUnavailable, ObjectNotFound.
    """

    def __init__(self, client: Client, name: str, info: ObjectInfo, start: int, end: int) -> None:
        self._client, self._name, self._info = client, name, info
        self._at, self._end = start, end
        self._crc32c = 0 if (start, end) == (0, info.size) else None
        self._answer: requests.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._first = b""
        if start < end:
            self._first = self._read()
        elif end == 0:
            client.call(self._open)  # an empty object: is it still there?
            self.close()

    def __next__(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
            return piece
        if self._at == self._end:
            raise StopIteration
        return self._read()

    def close(self) -> None:
        """End it. The connection is used again if nothing of the answer is left in it."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def _read(self) -> bytes:
        piece = self._client.call(self._read_once)
        self._at += len(piece)
        if self._crc32c is not None:
            self._crc32c = google_crc32c.extend(self._crc32c, piece)
            if self._at == self._end and self._crc32c != self._info.crc32c:
                self.close()
                raise ChecksumMismatch("what the object store sent does not fit its checksum")
        if self._at == self._end:
            self.close()
        return piece

    def _read_once(self, bucket: Bucket) -> bytes:
        if self._answer is None:
            self._open(bucket)
        try:
            piece = next(self._pieces, b"")[: self._end - self._at]
        except BaseException:
            self.close()
            raise
        if not piece:
            self.close()
            raise Stalled("the download ended early")
        return piece

    def _open(self, bucket: Bucket) -> None:
        """Ask for what is left (json_api/v1/objects/get, alt=media)."""
        whole = (self._at, self._end) == (0, self._info.size)
        headers = {"Accept-Encoding": "identity"}  # sizes and checksums are of what is stored
        if not whole:
            headers["Range"] = f"bytes={self._at}-{self._end - 1}"
        answer = self._client.session().get(
            f"{bucket.client.api_endpoint}/download/storage/v1{bucket.blob(self._name).path}",
            params={"alt": "media", "generation": str(self._info.generation)},
            headers=headers,
            stream=True,
            timeout=self._client.timeout,
        )
        if not answer.ok:
            raise from_http_response(answer)  # type: ignore[no-untyped-call] # api-core is typed in parts
        if answer.status_code != (200 if whole else 206):
            answer.close()
            raise StorageUnavailable("the object store did not send the range that was asked for")
        self._answer, self._pieces = answer, answer.iter_content(_PIECE)
