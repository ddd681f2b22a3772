"""An object as Google describes it (json_api/v1/objects#resource), in our words but for its name."""

import base64
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from google.cloud.storage import Blob

from service.storage.store import ObjectInfo, Page, StorageMisconfigured


def from_blob(blob: Blob) -> ObjectInfo:
    """Of what the library was answered. Its properties parse the same at each use, and dates slowly."""
    return from_resource(blob.name, blob._properties)


def from_resource(name: str, resource: Mapping[str, Any]) -> ObjectInfo:
    """Of the JSON that an upload ends with, or one of a listing."""
    try:
        return ObjectInfo(
            key=name,
            size=int(resource["size"]),
            content_type=resource.get("contentType") or "application/octet-stream",
            generation=int(resource["generation"]),
            crc32c=_crc32c(resource["crc32c"]),
            updated=datetime.fromisoformat(resource["updated"]).timestamp(),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StorageMisconfigured(f"what answers is no object store: an object without {error}") from error


def page_from(listing: Any, *, skip: int) -> Page:
    """Of a listing's JSON (json_api/v1/objects/list#response). Names lose their first ``skip`` characters."""
    try:
        objects = [from_resource(item["name"][skip:], item) for item in listing.get("items", [])]
        token = listing.get("nextPageToken") or None
    except (AttributeError, KeyError, TypeError) as error:
        raise StorageMisconfigured("what answers is no object store: its answer is no listing") from error
    return Page(objects, None if token is None else str(token))


def from_headers(name: str, headers: Mapping[str, str]) -> ObjectInfo | None:
    """Of a download's answer (xml-api/reference-headers; times to the second). None where one lacks, or makes no sense.

    The JSON API sends them as the XML API does, but its own pages do not promise it.
    """
    hashes = dict(part.strip().partition("=")[::2] for part in headers.get("X-Goog-Hash", "").split(","))
    try:
        info = ObjectInfo(
            key=name,
            size=int(headers["X-Goog-Stored-Content-Length"]),
            content_type=headers.get("Content-Type") or "application/octet-stream",
            generation=int(headers["X-Goog-Generation"]),
            crc32c=_crc32c(hashes["crc32c"]),
            updated=parsedate_to_datetime(headers["Last-Modified"]).timestamp(),
        )
    except (KeyError, ValueError, OverflowError):  # the last of a year that no date has
        return None
    return info if info.size >= 0 else None


def crc32c_text(crc32c: int) -> str:
    """A CRC32C as the API writes it: base64 of its big-endian bytes."""
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


def _crc32c(text: str) -> int:
    data = base64.b64decode(text, validate=True)
    if len(data) != 4:
        raise ValueError("a CRC32C of four bytes")
    return int.from_bytes(data, "big")
