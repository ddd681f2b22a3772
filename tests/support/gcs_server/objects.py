"""Buckets and the objects in them: their bodies, their resources, preconditions, listing."""

import base64
import bisect
import json
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import quote

import google_crc32c

IN_MEMORY = 1024 * 1024  # a larger body is a file without a name
BLOCK = 256 * 1024


class Refusal(Exception):
    """An error answer (json_api/v1/status-codes)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class Body:
    """Bytes that are appended and then read; in memory while they are few."""

    def __init__(self, folder: str) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder)  # noqa: SIM115 -- closed when nobody has it any more
        self._lock = threading.Lock()
        self.size = 0
        self.crc32c = 0

    def append(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)
        self.crc32c = google_crc32c.extend(self.crc32c, data)

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to ``end``. Readers take turns."""
        while start < end:
            with self._lock:
                self._file.seek(start)
                data = self._file.read(min(BLOCK, end - start))
            start += len(data)
            yield data


@dataclass
class StoredObject:
    """One generation of an object."""

    bucket: str
    name: str
    body: Body
    generation: int
    content_type: str
    metadata: Mapping[str, str]
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    metageneration: int = 1

    def resource(self, base_url: str) -> dict[str, Any]:
        """json_api/v1/objects#resource: numbers of 64 bits are strings, crc32c is base64 of the big-endian bytes."""
        when = self.created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "contentType": self.content_type,
            "size": str(self.body.size),
            "crc32c": crc32c_text(self.body.crc32c),
            "etag": base64.b64encode(str(self.generation).encode()).decode(),
            "timeCreated": when,
            "updated": when,
            "storageClass": "STANDARD",
            "mediaLink": f"{base_url}/download/storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"
            f"?generation={self.generation}&alt=media",
            **({"metadata": dict(self.metadata)} if self.metadata else {}),
        }


class Buckets:
    """All buckets. Every change is one step under one lock."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[str, StoredObject]] = {}
        self._names: dict[str, list[bytes]] = {}  # sorted
        self._last_generation = 0

    def create(self, name: str) -> None:
        """docs/buckets#naming; an existing one is a 409 (json_api/v1/status-codes#409-conflict)."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", name):
            raise Refusal(400, "invalid", f"Invalid bucket name: '{name}'")
        with self._lock:
            if name in self._buckets:
                raise Refusal(409, "conflict", "Your previous request to create the named bucket succeeded.")
            self._buckets[name], self._names[name] = {}, []

    def get(self, bucket: str) -> dict[str, StoredObject]:
        """A bucket's objects. 404 (json_api/v1/status-codes#404-not_found)."""
        try:
            return self._buckets[bucket]
        except KeyError:
            raise Refusal(404, "notFound", "The specified bucket does not exist.") from None

    def find(self, bucket: str, name: str, query: Mapping[str, str], *, changes: bool) -> StoredObject:
        """The live object, its preconditions met. json_api/v1/objects/get: an older ``generation`` is a 404 here,
        as in a bucket without versions.
        """
        with self._lock:
            found = self.get(bucket).get(name)
            if found is not None and query.get("generation", str(found.generation)) != str(found.generation):
                found = None
            if found is None:
                raise Refusal(404, "notFound", f"No such object: {bucket}/{name}")
            check_preconditions(found, query, changes=changes)
            return found

    def put(
        self,
        bucket: str,
        name: str,
        body: Body,
        query: Mapping[str, str],
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> StoredObject:
        """Make the object, if its preconditions are met now (request-preconditions#criteria)."""
        with self._lock:
            objects = self.get(bucket)
            check_preconditions(objects.get(name), query, changes=True)
            # A generation is larger than every one before it (docs/object-versioning#details).
            self._last_generation = max(self._last_generation + 1, time.time_ns() // 1000)
            made = StoredObject(bucket, name, body, self._last_generation, content_type, metadata)
            if name not in objects:
                bisect.insort(self._names[bucket], name.encode())
            objects[name] = made
            return made

    def delete(self, bucket: str, name: str, query: Mapping[str, str]) -> None:
        """json_api/v1/objects/delete."""
        with self._lock:
            self.find(bucket, name, query, changes=True)
            del self.get(bucket)[name]
            names = self._names[bucket]
            del names[bisect.bisect_left(names, name.encode())]

    def list(self, bucket: str, *, prefix: str, limit: int, token: str | None) -> tuple[list[StoredObject], str | None]:
        """One page, in the order of the names' UTF-8 bytes (json_api/v1/objects/list)."""
        after = _after(token)
        with self._lock:
            objects, names = self.get(bucket), self._names[bucket]
            at = max(bisect.bisect_left(names, prefix.encode()), bisect.bisect_right(names, after) if after else 0)
            page: list[bytes] = []
            while at < len(names) and names[at].startswith(prefix.encode()):
                if len(page) == limit:
                    return [objects[n.decode()] for n in page], _token(page[-1])
                page.append(names[at])
                at += 1
            return [objects[n.decode()] for n in page], None

    def totals(self) -> dict[str, int]:
        """How many objects and bytes there are."""
        with self._lock:
            everything = [stored for objects in self._buckets.values() for stored in objects.values()]
            return {"objects": len(everything), "bytes": sum(stored.body.size for stored in everything)}


def check_preconditions(current: StoredObject | None, query: Mapping[str, str], *, changes: bool) -> None:
    """request-preconditions#criteria: "not match" is a 304 where nothing would be changed, every other failure 412.

    A generation of 0 means that there must be no live object (#special-case).
    """
    generation = current.generation if current else 0
    metageneration = current.metageneration if current else 0
    for name, is_now in (("Generation", generation), ("Metageneration", metageneration)):
        for kind in ("Match", "NotMatch"):
            wanted = query.get(f"if{name}{kind}")
            if wanted is None:
                continue
            if not re.fullmatch(r"[0-9]{1,19}", wanted):
                raise Refusal(400, "invalid", f"Invalid value for if{name}{kind}: '{wanted}'")
            if (int(wanted) == is_now) != (kind == "Match"):
                if kind == "NotMatch" and not changes:
                    raise Refusal(304, "notModified", "Not Modified")
                message = "At least one of the pre-conditions you specified did not hold."
                raise Refusal(412, "conditionNotMet", message)


def check_name(name: str | None) -> str:
    """docs/objects#naming."""
    if not name:
        raise Refusal(400, "required", "Required")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Refusal(400, "invalid", "Object names must be valid UTF-8") from None
    if size > 1024 or set(name) & {"\r", "\n"} or name in (".", "..") or name.startswith(".well-known/acme-challenge/"):
        raise Refusal(400, "invalid", f"Disallowed name: '{name}'")
    return name


def crc32c_text(crc32c: int) -> str:
    """Base64 of the big-endian bytes (json_api/v1/objects#resource)."""
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


def _token(name: bytes) -> str:
    return base64.urlsafe_b64encode(json.dumps({"after": name.decode()}).encode()).decode()


def _after(token: str | None) -> bytes:
    if token is None:
        return b""
    try:
        return str(json.loads(base64.b64decode(token, altchars=b"-_", validate=True))["after"]).encode()
    except (ValueError, KeyError, TypeError):
        raise Refusal(400, "invalid", "Invalid argument.") from None
