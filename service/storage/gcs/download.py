"""One download: one generation, taken up again where it breaks, its checksum compared at the end.

The library returns a response only as a whole, or writes it into a file. So the request is made here, in its session.
"""

import base64
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import google_crc32c
import requests
from google.api_core.exceptions import from_http_response
from urllib3.exceptions import HTTPError

from service.storage.gcs.client import GcsClient
from service.storage.gcs.describe import NONSENSE, from_blob
from service.storage.gcs.errors import Stalled
from service.storage.store import DamagedDownload, ObjectInfo, StorageUnavailable

_PIECE = 256 * 1024
_OF_NOTHING = "AAAAAA=="  # the CRC32C of no bytes


class GcsDownload:
    """The bytes of the object ``name`` from ``start`` to ``end``, of the generation in ``info``.

    Without ``info`` all that is there now; ``info`` is known when the constructor returns.
    """

    def __init__(
        self, client: GcsClient, name: str, info: ObjectInfo | None = None, start: int = 0, end: int | None = None
    ) -> None:
        self._client, self._name = client, name
        self._response: requests.Response | None = None
        self.info: ObjectInfo = info or client.call(self._discover, is_short=True) or from_blob(client.look(name))
        self._start = self._at = start
        self._end = self.info.size if end is None else end
        self._waited = 0.0  # seconds for bytes of the body
        self._is_whole = (self._at, self._end) == (0, self.info.size)
        self._crc32c = 0

    def begin(self) -> Iterator[bytes]:
        """The bytes. The first ones are fetched before this returns: ObjectNotFound if the object was replaced.

        Where the whole object is read and does not fit its checksum, DamagedDownload comes instead of the last bytes,
        so that the reader gets too few. Else StorageUnavailable, ObjectNotFound.
        """
        pieces = self._all()
        next(pieces)
        return pieces

    def _all(self) -> Iterator[bytes]:
        """All pieces; before them an empty one, when the first has arrived."""
        try:
            if self._response is None and (self._at < self._end or self._end == 0):  # an empty object: is it there?
                self._client.call(self._open, is_short=True)
            first = self._read() if self._at < self._end else b""
            yield b""
            yield first
            while self._at < self._end:
                yield self._read()
        finally:
            self._close()

    def _read(self) -> bytes:
        # What has begun to come is read to its end, whatever other requests have met.
        piece = self._client.call(self._read_once, always=self._response is not None)
        self._at += len(piece)
        self._crc32c = google_crc32c.extend(self._crc32c, piece)
        if self._is_whole and self._at == self._end and self._crc32c != self.info.crc32c:
            raise DamagedDownload("what the object store sent does not fit its checksum")
        return piece

    def _read_once(self) -> bytes:
        response = self._response or self._open()
        try:
            return self._next_of(response)
        except BaseException:
            self._close()
            raise

    def _next_of(self, response: requests.Response) -> bytes:
        """What has arrived, not a whole piece of a store that sends a byte at a time."""
        started = time.monotonic()
        try:
            piece: bytes = response.raw.read1(_PIECE)[: self._end - self._at]
        except HTTPError as error:
            raise requests.ConnectionError(error) from error
        self._waited += time.monotonic() - started
        rate, moved = self._client.least_rate, self._at - self._start + len(piece)
        if rate and self._waited > self._client.timeout + moved / rate:
            raise StorageUnavailable("the object store sends too slowly")
        if not piece:
            raise Stalled("the download ended early")
        return piece

    def _close(self) -> None:
        """The connection is used again if the response was read to its end."""
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def _discover(self) -> ObjectInfo | None:
        """Ask for whatever is there, and what that is; None where the response does not say it."""
        info = from_headers(self._name, self._ask("", {}, 200).headers)
        if info is None:
            self._close()
        return info

    def _open(self) -> requests.Response:
        """Ask for what is left."""
        is_part = self._at > 0 or not self._is_whole
        part = {"Range": f"bytes={self._at}-{self._end - 1}"} if is_part else {}
        return self._ask(f"&generation={self.info.generation}", part, 206 if is_part else 200)

    def _ask(self, more: str, part: dict[str, str], status: int) -> requests.Response:
        """json_api/v1/objects/get with alt=media, at the address in docs/request-endpoints; the body is to be read."""
        bucket, session = self._client.connected()
        response = session.get(
            f"{bucket.client.api_endpoint}/download/storage/v1{bucket.path}/o/{quote(self._name, safe='~')}"
            f"?alt=media{more}",
            headers={"Accept-Encoding": "identity", **part},  # sizes and checksums are of what is stored
            stream=True,
            timeout=self._client.timeout,
        )
        if not response.ok:
            raise from_http_response(response)  # type: ignore[no-untyped-call] # api-core is typed in parts
        if response.status_code != status:
            response.close()
            raise StorageUnavailable("the object store did not send the range that was asked for")
        self._response = response
        return response


def from_headers(name: str, headers: Mapping[str, str]) -> ObjectInfo | None:
    """The headers of a download (xml-api/reference-headers; times to the second). None where they describe no object.

    The JSON API sends them as the XML API does, but its own pages do not promise it.
    """
    digest = re.search(r"\bcrc32c=([A-Za-z0-9+/]{6}==)", headers.get("X-Goog-Hash", ""))
    size = re.fullmatch("[0-9]+", headers.get("X-Goog-Stored-Content-Length", ""))
    if not digest or not size:
        return None
    if int(size[0]) == 0 and digest[1] != _OF_NOTHING:
        return None
    try:
        return ObjectInfo(
            key=name,
            size=int(size[0]),
            content_type=headers.get("Content-Type", "application/octet-stream"),
            generation=int(headers["X-Goog-Generation"]),
            crc32c=int.from_bytes(base64.b64decode(digest[1]), "big"),
            updated=parsedate_to_datetime(headers["Last-Modified"]).timestamp(),
        )
    except NONSENSE:
        return None
