"""Files in a folder: a persistent disk where block storage is wanted, and ``make run``.

An object is one file: a rename makes body and description appear at once. A process that is killed leaves at most a
file in ``.uploads``, which is swept. Preconditions are decided under a lock between threads and processes. The reasons
are in docs/decisions/0004-bucket-or-folder.md.
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
    DamagedDownload,
    ObjectInfo,
    ObjectNotFound,
    ObjectPage,
    PreconditionFailed,
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

    On a network file system it is as safe as that file system's locks (flock) and renames.
    """

    name = "file"

    def __init__(self, folder: str) -> None:
        self._root = folder
        self._sweep_at = 0.0  # on the monotonic clock: with the first upload

    def put(self, key: str, body: Iterator[bytes], *, content_type: str, generation: int | None) -> ObjectInfo:
        """On the disk when it returns (fsync of the file and of its folder)."""
        _expect(self.stat(key), generation)  # early, before a large body; it is decided below
        parents, file_name = layout.place(key)
        with self._upload() as (uploads, upload_name, file):
            crc32c = length = 0
            for piece in body:  # its own errors go through
                crc32c = google_crc32c.extend(crc32c, piece)
                length += len(piece)
                with self._translated():
                    _write(file, piece)
            now = time.time()
            # Microseconds, then ten random bits: two writes never share one, even where the clock was set back.
            written = int(now * 1e6) << 10 | secrets.randbits(10)
            info = ObjectInfo(key, length, content_type, written, crc32c, now)
            footer = record.footer(info)
            with self._translated():
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
            with self._translated(), layout.folder(self._root, parents) as folder:
                return record.find(folder, file_name, key)
        except ObjectNotFound:
            return None

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        """An open file is read to its end, even if it is deleted or replaced meanwhile."""
        parents, file_name = layout.place(info.key)
        with self._translated(), layout.folder(self._root, parents) as folder:
            pieces = self._pieces(os.open(file_name, layout.OPEN_FILE, dir_fd=folder), info, start, end)
            next(pieces)
            return pieces

    def open(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]] | None:
        """In two steps: where the object is replaced between them, once more."""
        while (info := self.stat(key)) is not None:
            with contextlib.suppress(ObjectNotFound):
                return info, self.get(info, 0, info.size)
        return None

    def delete(self, key: str, *, generation: int | None) -> bool:
        parents, file_name = layout.place(key)
        try:
            with self._translated(), layout.folder(self._root, parents) as folder, layout.lock(self._root, key):
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
        after = b""
        if page_token is not None:
            after = base64.b64decode(page_token.encode("ascii"), altchars=b"-_", validate=True)
            if not after.startswith(prefix.encode()):
                raise ValueError("the page token is of another listing")
        parents, _ = layout.place(prefix)
        try:
            with self._translated(), layout.folder(self._root, parents) as folder:
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
        with self._translated():
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
    def _upload(self) -> Iterator[tuple[int, str, int]]:
        """The uploads' folder, a name in it, and the new file of that name, locked so that no sweep removes it.

        The file is removed afterwards, unless it was renamed.
        """
        name = secrets.token_hex(16)
        with contextlib.ExitStack() as stack:
            with self._translated():
                folder = stack.enter_context(layout.folder(self._root, [layout.UPLOADS], create=True))
                if time.monotonic() >= self._sweep_at:
                    self._sweep_at = time.monotonic() + layout.SWEEP_SECONDS
                    layout.sweep(folder)
                file = os.open(name, layout.CREATE_FILE, 0o600, dir_fd=folder)
                stack.callback(os.close, file)
            try:
                with self._translated():
                    fcntl.flock(file, fcntl.LOCK_EX)
                yield folder, name, file
            finally:
                with contextlib.suppress(OSError):  # it was renamed; or a sweep will remove it
                    os.unlink(name, dir_fd=folder)

    def _pieces(self, file: int, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        """The bytes of an open file, which is closed at the end; before them nothing, when the first ones were read."""
        try:
            current = record.read(file)
            if (current.key, current.generation) != (info.key, info.generation):
                raise ObjectNotFound("it was replaced meanwhile")
            piece, at, crc32c = b"", start, 0
            while at < end:
                with self._translated():
                    following = os.pread(file, min(_CHUNK, end - at), at)
                at += len(following)
                crc32c = google_crc32c.extend(crc32c, following)
                # Before the last bytes are handed out, so that the reader of a damaged file gets too few.
                if not following or (at == end and (start, end) == (0, info.size) and crc32c != info.crc32c):
                    raise DamagedDownload("what is on the disk does not fit its checksum")
                yield piece
                piece = following
            yield piece
        finally:
            os.close(file)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The operating system's errors as the contract's, with advice."""
        try:
            yield
        except OSError as error:
            if error.errno in _ADVICE:
                raise StorageMisconfigured(_ADVICE[error.errno].format(self._root)) from error
            if error.errno != errno.ENOENT:
                name = errno.errorcode.get(error.errno or 0, error)
                raise StorageUnavailable(f"{self._root} can't be used: {name}") from error
            if Path(self._root).is_dir():
                raise ObjectNotFound("there is no such object") from error
            raise StorageMisconfigured(f"the folder {self._root} is missing; create or mount it") from error


def _expect(current: ObjectInfo | None, generation: int | None) -> None:
    if generation is not None and generation != (current.generation if current else 0):
        raise PreconditionFailed(f"the object is not of generation {generation}")


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
