"""Files in a folder: a persistent disk where block storage is wanted, and ``make run``.

An object is one file, which one rename makes appear with its description. A process that is killed leaves at most a
file in ``.uploads``, which is swept. Preconditions are decided under a lock that holds between threads and processes.
Why so: docs/decisions/0004-bucket-or-folder.md.
"""

import base64
import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from service.storage.file import layout, record
from service.storage.store import (
    ChecksumMismatch,
    ObjectInfo,
    ObjectNotFound,
    ObjectPage,
    PreconditionFailed,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)

_CHUNK = 256 * 1024
_ADVICE = {
    errno.ENOSPC: "there is no room in {}; free some, or enlarge the disk",
    errno.EFBIG: "there is no room in {} for such a large file; raise the limit on a file's size",
    errno.EDQUOT: "the quota of {} is used up; free some, or raise it",
    errno.EROFS: "{} is read-only; mount it writable",
    errno.EACCES: "no permission in {}; give it to this process's user (in Kubernetes: fsGroup)",
    errno.EPERM: "no permission in {}; give it to this process's user (in Kubernetes: fsGroup)",
    errno.ELOOP: "{} holds a link where a folder or a file belongs; remove it",
    errno.ENOTDIR: "{} holds a link or a file where a folder belongs; remove it",
}


class FileStore:
    """An ObjectStore in one folder, which must exist. Safe for threads and for many processes on one machine.

    On a network file system it is as safe as that one's locks (flock) and renames.
    """

    name = "file"

    def __init__(self, folder: str) -> None:
        self._root = folder
        self._sweep_at = 0.0  # on the monotonic clock: with the first upload

    def put(self, key: str, body: Iterator[bytes], *, content_type: str, generation: int | None) -> ObjectInfo:
        """On the disk when it returns (fsync of the file and of its folder)."""
        _expect(self.stat(key), generation)  # early, before a large body; it is decided below
        parents, file_name = layout.place(key)
        with self._uploads() as uploads, self._upload(uploads) as (upload_name, file):
            crc32c = length = 0
            for piece in body:  # what this raises is not ours, and goes through
                crc32c = google_crc32c.extend(crc32c, piece)
                length += len(piece)
                with self._told():
                    _write(file, piece)
            now = time.time()
            info = ObjectInfo(key, length, content_type, _new_generation(now), crc32c, now)
            footer = record.footer(info)
            with self._told():
                _write(file, footer)
                os.fsync(file)
                with layout.folder(self._root, parents, create=True) as folder, layout.lock(self._root, key):
                    _expect(record.find(folder, file_name, key), generation)
                    os.rename(upload_name, file_name, src_dir_fd=uploads, dst_dir_fd=folder)
                    os.fsync(folder)
            return info

    def stat(self, key: str) -> ObjectInfo | None:
        parents, file_name = layout.place(key)
        try:
            with self._told(), layout.folder(self._root, parents) as folder:
                return record.find(folder, file_name, key)
        except ObjectNotFound:
            return None

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        """What was opened is read to its end, whatever becomes of its name."""
        parents, file_name = layout.place(info.key)
        with self._told(), layout.folder(self._root, parents) as folder:
            download = _Download(record.open_file(folder, file_name), info, start, end)
            download.begin()
            return download

    def open(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]] | None:
        """What is written meanwhile is another file."""
        while (info := self.stat(key)) is not None:
            try:
                return info, self.get(info, 0, info.size)
            except ObjectNotFound:
                continue
        return None

    def delete(self, key: str, *, generation: int | None) -> bool:
        parents, file_name = layout.place(key)
        try:
            with self._told(), layout.folder(self._root, parents) as folder, layout.lock(self._root, key):
                current = record.find(folder, file_name, key)
                if current is None:
                    return False
                _expect(current, generation)
                os.unlink(file_name, dir_fd=folder)
                os.fsync(folder)
                return True
        except ObjectNotFound:
            return False

    def list(self, prefix: str, *, page_token: str | None, limit: int) -> ObjectPage:
        """Reads the description of every object below the prefix's folder, once for each page."""
        after = _after(page_token, prefix)
        parents, _ = layout.place(prefix)
        try:
            with self._told(), layout.folder(self._root, parents) as folder:
                found = {
                    key: info
                    for info in record.walk(folder)
                    if (key := info.key.encode()).startswith(prefix.encode()) and key > after
                }
        except ObjectNotFound:
            found = {}
        keys = sorted(found)
        token = base64.urlsafe_b64encode(keys[limit - 1]).decode() if len(keys) > limit else None
        return ObjectPage([found[key] for key in keys[:limit]], token)

    def check(self) -> None:
        with self._told():
            with layout.folder(self._root, []) as root:
                space = os.fstatvfs(root)
            if space.f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, "read-only")
            if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, "no permission")
            if not space.f_bavail or (space.f_files and not space.f_favail):
                raise OSError(errno.ENOSPC, "full")

    def close(self) -> None:
        """Nothing is kept open."""

    @contextlib.contextmanager
    def _uploads(self) -> Iterator[int]:
        """The folder of what is on its way. Now and then what dead processes left there is removed."""
        with contextlib.ExitStack() as stack:
            with self._told():
                folder = stack.enter_context(layout.folder(self._root, [layout.UPLOADS], create=True))
                if time.monotonic() >= self._sweep_at:
                    self._sweep_at = time.monotonic() + layout.SWEEP_SECONDS
                    layout.sweep(folder)
            yield folder

    @contextlib.contextmanager
    def _upload(self, folder: int) -> Iterator[tuple[str, int]]:
        """A file for one upload, locked so that no sweep takes it. It is gone afterwards, unless it was renamed."""
        name = secrets.token_hex(16)
        with self._told():
            file = os.open(name, layout.CREATE_FILE, 0o600, dir_fd=folder)
        try:
            with self._told():
                fcntl.flock(file, fcntl.LOCK_EX)
            yield name, file
        finally:
            with contextlib.suppress(OSError):  # it was renamed; or a sweep will see to it
                os.unlink(name, dir_fd=folder)
            os.close(file)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """The operating system's errors in our words, with what to do."""
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> StorageError:
        if error.errno in _ADVICE:
            return StorageMisconfigured(_ADVICE[error.errno].format(self._root))
        if error.errno == errno.ENOENT and Path(self._root).is_dir():
            return ObjectNotFound("there is no such object")
        if error.errno == errno.ENOENT:
            return StorageMisconfigured(f"the folder {self._root} is missing; create or mount it")
        return StorageUnavailable(f"{self._root} can't be used: {errno.errorcode.get(error.errno or 0, error)}")


class _Download(Iterator[bytes]):
    """Bytes of an open file, which is closed at the end."""

    def __init__(self, file: int, info: ObjectInfo, start: int, end: int) -> None:
        self._file, self._info, self._at, self._end = file, info, start, end
        self._crc32c = 0 if (start, end) == (0, info.size) else None
        self._first = b""

    def begin(self) -> None:
        """Read the first bytes. ObjectNotFound if this is another write by now."""
        current = record.read(self._file)
        if (current.key, current.generation) != (self._info.key, self._info.generation):
            raise ObjectNotFound("it was replaced meanwhile")
        if self._at < self._end:
            self._first = self._read()

    def __next__(self) -> bytes:
        if self._first:
            chunk, self._first = self._first, b""
            return chunk
        if self._at == self._end:
            self.close()
            raise StopIteration
        try:
            return self._read()
        except OSError as error:
            raise StorageUnavailable(f"the disk can't be read: {errno.errorcode.get(error.errno or 0)}") from error

    def close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    __del__ = close

    def _read(self) -> bytes:
        chunk = os.pread(self._file, min(_CHUNK, self._end - self._at), self._at)
        self._at += len(chunk)
        if self._crc32c is not None:
            self._crc32c = google_crc32c.extend(self._crc32c, chunk)
        # The last bytes are never handed out where it does not fit, so that whoever counts sees it cut short.
        if not chunk or (self._at == self._end and self._crc32c not in (None, self._info.crc32c)):
            raise ChecksumMismatch("what is on the disk does not fit its checksum")
        return chunk


def _expect(current: ObjectInfo | None, generation: int | None) -> None:
    if generation is not None and generation != (current.generation if current else 0):
        raise PreconditionFailed(f"the object is not of generation {generation}")


def _new_generation(now: float) -> int:
    """Microseconds, then ten random bits: two writes never share one, even where the clock was set back."""
    return int(now * 1e6) << 10 | secrets.randbits(10)


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _after(page_token: str | None, prefix: str) -> bytes:
    """The key behind which a page begins. ValueError for a token that was not given out for this prefix."""
    if page_token is None:
        return b""
    after = base64.b64decode(page_token.encode("ascii"), altchars=b"-_", validate=True)
    if not after.startswith(prefix.encode()):
        raise ValueError("the page token is of another listing")
    return after
