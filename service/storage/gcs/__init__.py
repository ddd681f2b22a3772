"""Files in Google Cloud Storage, through Google's client library: docs/decisions/0004-bucket-or-folder.md.

Nothing touches a local disk. Comments name the pages of Google's documentation, https://cloud.google.com/storage/docs/.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from google.api_core.exceptions import from_http_response

from service.storage.gcs.client import GcsClient
from service.storage.gcs.describe import NONSENSE, from_blob, from_resource
from service.storage.gcs.download import GcsDownload
from service.storage.gcs.upload import GcsUpload
from service.storage.store import (
    ObjectInfo,
    ObjectNotFound,
    ObjectPage,
    PreconditionFailed,
    StorageMisconfigured,
    StorageUnavailable,
)

__all__ = ["GcsClient", "GcsStore"]

# No more than is needed (json_api#partial-response).
_LISTED = "kind,nextPageToken,items(name,size,contentType,generation,crc32c,updated)"
_CHECK_KEY = "health-check"  # never written
_ATTEMPTS = 5  # to open an object that is replaced meanwhile


class GcsStore:
    """An ObjectStore in one bucket. Safe for threads; open it after a fork.

    ``prefix`` stands before every key, with a ``/`` between.
    """

    name = "gcs"

    def __init__(self, client: GcsClient, *, prefix: str = "") -> None:
        self._client = client
        self._prefix = f"{prefix}/" if prefix else ""

    def put(self, key: str, body: Iterator[bytes], *, content_type: str, generation: int | None) -> ObjectInfo:
        """Up to 2 MiB go in one request, more as a resumable upload in chunks of 8 MiB."""
        upload = GcsUpload(self._client, self._object(key), content_type=content_type, generation=generation)
        return self._ours(upload.run(body))

    def stat(self, key: str) -> ObjectInfo | None:
        """One request."""
        try:
            return self._ours(from_blob(self._client.look(self._object(key))))
        except ObjectNotFound:
            return None

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        """A transfer that breaks is taken up again where it broke."""
        return GcsDownload(self._client, self._object(info.key), info, start, end).begin()

    def open(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]] | None:
        """One request, where its response describes the object; else that is asked for as well."""
        for _ in range(_ATTEMPTS):
            try:
                download = GcsDownload(self._client, self._object(key))
            except ObjectNotFound:
                return None
            with contextlib.suppress(ObjectNotFound):  # replaced before its first bytes came: look again
                return self._ours(download.info), download.begin()
        raise StorageUnavailable("the object is replaced again and again, or the store knows no generations")

    def delete(self, key: str, *, generation: int | None) -> bool:
        """Always with a precondition, so that it can be repeated (retry-strategy#idempotency)."""
        if generation is not None:
            return self._delete(key, generation)
        while (info := self.stat(key)) is not None:
            with contextlib.suppress(PreconditionFailed):  # written meanwhile: that one is deleted too
                return self._delete(key, info.generation)
        return False

    def _delete(self, key: str, generation: int) -> bool:
        failed: list[str] = []
        try:
            self._client.delete(self._object(key), generation, failed=failed)
        except ObjectNotFound:
            return bool(failed)  # an earlier attempt, whose response was lost, has deleted it
        return True

    def list(self, prefix: str, *, page_token: str | None, limit: int) -> ObjectPage:
        """One request (json_api/v1/objects/list)."""

        def one_page() -> ObjectPage:
            # The library's own takes any JSON for an empty page, and hides the response.
            bucket, session = self._client.connected()
            token = {} if page_token is None else {"pageToken": page_token}
            response = session.get(
                f"{bucket.client.api_endpoint}/storage/v1{bucket.path}/o",
                params={"prefix": self._prefix + prefix, "maxResults": str(limit), "fields": _LISTED, **token},
                timeout=self._client.timeout,
            )
            if response.status_code == 400 and page_token is not None:
                raise ValueError("the store knows no such page token")
            if not response.ok:
                raise from_http_response(response)  # type: ignore[no-untyped-call] # api-core is typed in parts
            document = response.json()
            try:
                if document["kind"] != "storage#objects":
                    raise ValueError("it is of another kind")
                objects = [self._ours(from_resource(item["name"], item)) for item in document.get("items", [])]
                return ObjectPage(objects, document.get("nextPageToken") or None)
            except NONSENSE as error:
                raise StorageMisconfigured("this is not an object store: its response is not a listing") from error

        return self._client.call_bucket(one_page, is_short=True)

    def check(self) -> None:
        """Asks for an object that never exists, without retries: a listing costs twelve times as much.

        It asks even while the breaker is open, and closes it.
        """
        try:
            self._client.look(self._object(_CHECK_KEY), budget=0, always=True)
        except ObjectNotFound as error:
            if not str(error).startswith("No such object"):
                # The bucket may be missing. A listing shows it.
                self.list("", page_token=None, limit=1)

    def close(self) -> None:
        self._client.close()

    def _ours(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, key=info.key[len(self._prefix) :])

    def _object(self, key: str) -> str:
        """The object's name. ValueError where it is not a valid one (docs/objects#naming)."""
        name = self._prefix + key
        if not key or name in (".", "..") or set(name) & {"\r", "\n"} or len(name.encode()) > 1024:
            raise ValueError("a key with the prefix must be 1 to 1024 bytes of UTF-8 without line breaks")
        return name
