"""What an object store promises. Each store is a module of its own beside this one.

Bodies stream both ways as iterators of bytes, in bounded memory whatever their size. An object appears whole or not at
all. Its generation changes with every write and names that write; a precondition on it is decided by the store.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

GENERATION_OF_NOTHING = 0  # as a precondition: there must be no such object


class StorageError(Exception):
    """The object store failed. The message says what to do, and contains no secret."""


class StorageUnavailable(StorageError):
    """It did not respond in time, is overloaded or can't be reached. Trying again later may help."""


class OutcomeUnknown(StorageUnavailable):
    """The store did not confirm a write. The object may be there, may have been there, or may still come."""


class StorageBusy(StorageUnavailable):
    """It was not asked: too many requests wait for it already (service/bulkhead.py)."""


class StorageMisconfigured(StorageError):
    """Trying again won't help: the bucket or folder is missing, or there is no permission, or no room."""


class ObjectNotFound(StorageError):
    """There is no such object (or not of that generation)."""


class PreconditionFailed(StorageError):
    """The object's generation is not the one that was asked for. Nothing was changed."""


class ChecksumMismatch(StorageError):
    """What the store has is not what was sent. It is deleted."""


class DamagedDownload(ChecksumMismatch):
    """What the store sent does not fit its checksum."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object, without its body."""

    key: str
    size: int  # bytes
    content_type: str
    generation: int  # names this write; never 0
    crc32c: int  # of the body, as the store says (Castagnoli, RFC 3720 appendix B.4)
    updated: float  # seconds since the epoch
    # From ``put``: an earlier attempt of this write may have been stored too, and deleted since by another request.
    maybe_twice: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class ObjectPage:
    """One page of a listing, in the order of the keys' UTF-8 bytes."""

    objects: list[ObjectInfo]
    next_token: str | None  # the ``page_token`` of the next page; None at the end


class ObjectStore(Protocol):
    """Where objects live. Every method may raise StorageUnavailable or StorageMisconfigured.

    Keys are like ``visitors/<owner>/<name>``; a name has no ``/`` and is 1 to 255 bytes of UTF-8. The store puts the
    URL's own prefix, if it has one, in front, and takes it off again. Safe for threads.
    """

    name: str  # "gcs", "file"

    def put(self, key: str, body: Iterator[bytes], *, content_type: str, generation: int | None) -> ObjectInfo:
        """Write an object from ``body``.

        ``generation``: the one it must replace, 0 for "must not exist", None for "whatever is there".
        ValueError where the key is not UTF-8, or where the content type would be sent in a header and is not printable.
        Where ``body`` raises, nothing is left behind and the exception goes through. The body's CRC32C is computed on
        the way in and compared with what the store says (ChecksumMismatch). Raises PreconditionFailed. After
        OutcomeUnknown the object may be there; after any other error it is not.
        """

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's description; None where there is none."""

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        """The bytes ``start`` (inclusive) to ``end`` (exclusive) of just this generation.

        The first chunk is fetched before this returns. ObjectNotFound if the object was replaced or deleted meanwhile.
        The iterator has ``close()``.
        """

    def open(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]] | None:
        """The object as it is now, and all its bytes as from ``get``, in one request where the store can do that.

        None where there is no object. Close the iterator, even if only the description is wanted.
        """

    def delete(self, key: str, *, generation: int | None) -> bool:
        """Delete it; False if it wasn't there. With ``generation``, only that one (else PreconditionFailed)."""

    def list(self, prefix: str, *, page_token: str | None, limit: int) -> ObjectPage:
        """Objects whose key begins with ``prefix``, at most ``limit`` (1 to 1000). ValueError for a bad token."""

    def check(self) -> None:
        """Ask the store whether it can serve. The StorageError says why not."""

    def close(self) -> None:
        """Close connections."""
