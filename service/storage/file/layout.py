"""Where things are in the folder: names, the path to them, locks, and the removal of what dead processes left.

A visitor's name becomes a file name only where it is plain; else it is hashed. Each folder on the path is opened from
the open folder above it and must not be a symbolic link, so none can be replaced meanwhile.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator

UPLOADS = ".uploads"  # that are not complete
SUFFIX = ".object"  # folders of keys have no dot in their names, so a file and a folder never meet
SWEEP_SECONDS = 3600  # how often, and how old an unlocked upload must be
CREATE_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not blocking, should it be a pipe
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCKS = ".locks"
_LOCK_COUNT = 64


def place(key: str) -> tuple[list[str], str]:
    """The folders below the root, and the file in them, of a key. ValueError for a lone surrogate."""
    *parents, name = key.split("/")
    return [_plain(part, r"[a-z0-9_-]{1,100}") for part in parents], (
        _plain(name, r"[a-z0-9_-][a-z0-9._-]{0,99}") + SUFFIX
    )


def _plain(part: str, pattern: str) -> str:
    """Itself where it is plain, so that a person finds it, else ``=`` and a hash.

    Plain is lower case without accents: some file systems fold the rest, and two names would become one. And a name
    of 255 bytes would leave no room for the suffix.
    """
    return part if re.fullmatch(pattern, part) else "=" + hashlib.sha256(part.encode()).hexdigest()


@contextlib.contextmanager
def folder(root: str, parents: list[str], *, create: bool = False) -> Iterator[int]:
    """A folder below the root, open. OSError: ENOENT; ENOTDIR or ELOOP for a link."""
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the root itself may be a link
    try:
        for name in parents:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=current)
                    os.fsync(current)
            below = os.open(name, OPEN_FOLDER, dir_fd=current)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


@contextlib.contextmanager
def lock(root: str, key: str) -> Iterator[None]:
    """One writer at a time for this key (and some others). The kernel frees it when a process dies."""
    name = f"{hashlib.sha256(key.encode()).digest()[0] % _LOCK_COUNT:02}"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with folder(root, [_LOCKS], create=True) as locks:
        file = os.open(name, flags, 0o600, dir_fd=locks)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def sweep(uploads: int) -> None:
    """Remove uploads of processes that died: old ones that are not locked."""
    old = time.time() - SWEEP_SECONDS
    for name in os.listdir(uploads):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # another sweep was faster; it is in use
            if os.stat(name, dir_fd=uploads, follow_symlinks=False).st_mtime > old:
                continue
            file = os.open(name, OPEN_FILE, dir_fd=uploads)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=uploads)
            finally:
                os.close(file)
