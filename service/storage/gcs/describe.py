"""An object as Google describes it (json_api/v1/objects#resource), as an ObjectInfo with the object's whole name."""

import base64
from datetime import datetime
from typing import Any

from google.cloud.storage import Blob

from service.storage.store import ObjectInfo, StorageMisconfigured

# What is raised where a response is not what it should be.
NONSENSE = (AttributeError, KeyError, TypeError, ValueError, OverflowError)


def from_blob(blob: Blob) -> ObjectInfo:
    """The library's description. StorageMisconfigured where it describes no object."""
    try:  # the properties parse what the response holds
        resource = {
            "size": blob.size,
            "contentType": blob.content_type,
            "generation": blob.generation,
            "crc32c": blob.crc32c,
            "updated": str(blob.updated),
        }
    except NONSENSE as error:
        raise StorageMisconfigured(f"this is not an object store: an object without {error}") from error
    return from_resource(blob.name, resource)


def from_resource(name: str, resource: Any) -> ObjectInfo:
    """The JSON that a resumable upload ends with. StorageMisconfigured where it describes no object."""
    try:
        digest = base64.b64decode(resource["crc32c"], validate=True)
        if len(digest) != 4 or int(resource["size"]) < 0:
            raise ValueError("a size, and a CRC32C of four bytes")
        if int(resource["size"]) == 0 and any(digest):
            raise ValueError("the checksum of its size, which is 0")
        return ObjectInfo(
            key=name,
            size=int(resource["size"]),
            content_type=resource.get("contentType") or "application/octet-stream",
            generation=int(resource["generation"]),
            crc32c=int.from_bytes(digest, "big"),
            updated=datetime.fromisoformat(resource["updated"]).timestamp(),
        )
    except NONSENSE as error:
        raise StorageMisconfigured(f"this is not an object store: an object without {error}") from error


def crc32c_text(crc32c: int) -> str:
    """A CRC32C as the API writes it: base64 of its big-endian bytes."""
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()
