"""Files in Google Cloud Storage, through its JSON API. What was chosen and why: docs/decisions/storage.md.

Bodies stream through; nothing touches a local disk. The rules come from Google's documentation, whose pages are under
https://cloud.google.com/storage/docs/ and are named where they are followed.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from google.auth.credentials import Credentials

from service.storage.gcs.api import Api, crc32c_from
from service.storage.gcs.download import Download
from service.storage.gcs.upload import Upload
from service.storage.store import ObjectInfo, Page, PreconditionFailed, StorageMisconfigured

# Partial responses keep answers small (json_api#partial-response).
_FIELDS = "name,size,contentType,generation,crc32c,updated,metadata"
_NO_OBJECT = "No such object"  # how the message of a 404 begins where only the object is missing
_CHECK_KEY = "health-check"  # never written


class GcsStore:
    """An ObjectStore in one bucket. Safe for threads; open it after a fork.

    ``prefix`` stands before every key, with a ``/`` between. ``timeout`` (seconds) is how long one attempt may make no
    progress, ``retry_budget`` (seconds) how long calls are repeated. ``connections`` are kept open. ``endpoint`` and
    ``credentials`` are for tests; see Api for where they come from.
    """

    name = "gcs"

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        timeout: float = 10,
        retry_budget: float = 15,
        connections: int = 10,
        endpoint: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._prefix = f"{prefix}/" if prefix else ""
        self._api = Api(
            bucket,
            timeout=timeout,
            retry_budget=retry_budget,
            connections=connections,
            endpoint=endpoint,
            credentials=credentials,
        )

    def put(
        self,
        key: str,
        body: Iterator[bytes],
        *,
        size: int | None,  # noqa: ARG002 -- the contract's; chunks tell by themselves which is the last
        content_type: str,
        generation: int | None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """See ObjectStore. Up to 8 MiB go in one request, more as a resumable upload in chunks of 8 MiB."""
        upload = Upload(
            self._api, self._object(key), content_type=content_type, generation=generation, metadata=metadata
        )
        return self._info(upload.run(body))

    def stat(self, key: str) -> ObjectInfo | None:
        """See ObjectStore. One request (json_api/v1/objects/get)."""
        reply = self._api.request("GET", self._path(key), {"fields": _FIELDS}, expect=(200, 404))
        return self._info(reply.json()) if reply.status == 200 else None

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        """See ObjectStore. A transfer that breaks is taken up again where it broke."""
        return Download(self._api, self._path(info.key), info, start, end)

    def delete(self, key: str, *, generation: int | None) -> bool:
        """See ObjectStore. Always with a precondition, so that it can be repeated (retry-strategy#idempotency)."""
        if generation is not None:
            return self._delete(key, generation)
        while (info := self.stat(key)) is not None:
            try:
                return self._delete(key, info.generation)
            except PreconditionFailed:
                continue  # written between the two: that one goes too
        return False

    def _delete(self, key: str, generation: int) -> bool:
        query = {"ifGenerationMatch": str(generation)}
        reply = self._api.request("DELETE", self._path(key), query, expect=(200, 204, 404, 412))
        if reply.status == 412:
            raise PreconditionFailed(f"{key!r} is not of generation {generation} any more")
        # Not there, but an attempt whose answer was lost came before: it was that one.
        return reply.status != 404 or reply.repeated

    def list(self, prefix: str, *, page_token: str | None, limit: int) -> Page:
        """See ObjectStore. One request (json_api/v1/objects/list)."""
        query = {
            "prefix": self._prefix + prefix,
            "maxResults": str(limit),
            "fields": f"nextPageToken,items({_FIELDS})",
        }
        if page_token is not None:
            query["pageToken"] = page_token
        reply = self._api.request("GET", self._api.objects, query, expect=(200, 400))
        if reply.status == 400:
            if page_token is None:
                raise self._api.error(reply)
            raise ValueError("the store knows no such page token")
        document = reply.json()
        infos = [self._info(item) for item in document.get("items", [])]
        return Page(infos, document.get("nextPageToken") or None)

    def check(self) -> None:
        """See ObjectStore. Asks for an object that never is, without retries: a listing costs twelve times as much."""
        reply = self._api.request("GET", self._path(_CHECK_KEY), {"fields": "name"}, expect=(200, 404), budget=0)
        if reply.status == 404 and not reply.message().startswith(_NO_OBJECT):
            # The bucket may be what is missing. A listing knows.
            self._api.request("GET", self._api.objects, {"maxResults": "1", "fields": "kind"}, budget=0)

    def close(self) -> None:
        """See ObjectStore."""
        self._api.close()

    def _path(self, key: str) -> str:
        return f"{self._api.objects}/{quote(self._object(key), safe='')}"

    def _object(self, key: str) -> str:
        """The object's name. ValueError where it can't be one (docs/objects#naming)."""
        name = self._prefix + key
        if not key or name in (".", "..") or set(name) & {"\r", "\n"} or len(name.encode()) > 1024:
            raise ValueError("a key with the prefix must be 1 to 1024 bytes of UTF-8 without line breaks")
        return name

    def _info(self, resource: Mapping[str, Any]) -> ObjectInfo:
        """An object's resource (json_api/v1/objects#resource) in our words."""
        try:
            return ObjectInfo(
                key=resource["name"][len(self._prefix) :],
                size=int(resource["size"]),
                content_type=resource.get("contentType") or "application/octet-stream",
                generation=int(resource["generation"]),
                crc32c=crc32c_from(resource["crc32c"]),
                updated=datetime.fromisoformat(resource["updated"]).timestamp(),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageMisconfigured(f"what answers is no object store: an object without {error}") from error
