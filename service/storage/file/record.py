"""An object's file: its body, its description as JSON, a magic word of eight bytes, the length of the description."""

import contextlib
import json
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import asdict

from service.storage.file.layout import OPEN_FILE, OPEN_FOLDER, SUFFIX
from service.storage.store import ObjectInfo, StorageMisconfigured

_END = struct.Struct(">8sI")
_MAGIC = b"\x93OBJECT1"  # eight bytes; the first of them begins no text in UTF-8
_OF_0_1_0 = bytes.fromhex("53 45 41 54 52 49 41 4c")  # was the product's name; in hex, so that no renaming changes it
_MAX_DESCRIPTION = 64 * 1024


def footer(info: ObjectInfo) -> bytes:
    """What follows the body. ValueError where the key is too long."""
    fields = asdict(info)
    del fields["maybe_twice"]  # says something of the write, not of the object
    description = json.dumps({"object": fields, "metadata": {}}).encode()
    if len(description) > _MAX_DESCRIPTION:
        raise ValueError(f"an object's description must be at most {_MAX_DESCRIPTION} bytes")
    return description + _END.pack(_MAGIC, len(description))


def read(file: int) -> ObjectInfo:
    """The description in an open file. StorageMisconfigured where it is not a file of this store."""
    status = os.fstat(file)
    end = status.st_size - _END.size
    if stat.S_ISREG(status.st_mode) and end > 0:
        magic, length = _END.unpack(os.pread(file, _END.size, end))
        if magic in (_MAGIC, _OF_0_1_0) and 0 < length <= min(end, _MAX_DESCRIPTION):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                info = ObjectInfo(**json.loads(os.pread(file, length, end - length))["object"])
                if info.size == end - length:
                    return info
    raise StorageMisconfigured("a file in the folder is not an object of this store; move it elsewhere")


def find(folder: int, name: str, key: str) -> ObjectInfo | None:
    """The object in a file; None where there is no such file."""
    try:
        info = _read(folder, name)
    except FileNotFoundError:
        return None
    if info.key != key:
        raise StorageMisconfigured("a file in the folder holds another object than its name says; move it elsewhere")
    return info


def walk(folder: int) -> Iterator[ObjectInfo]:
    """Every object below. Links are passed over, and objects that are deleted meanwhile."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(SUFFIX):
                    yield _read(folder, entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    below = os.open(entry.name, OPEN_FOLDER, dir_fd=folder)
                    try:
                        yield from walk(below)
                    finally:
                        os.close(below)


def _read(folder: int, name: str) -> ObjectInfo:
    file = os.open(name, OPEN_FILE, dir_fd=folder)
    try:
        return read(file)
    finally:
        os.close(file)
