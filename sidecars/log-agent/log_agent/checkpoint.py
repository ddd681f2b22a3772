"""What the agent remembers over a restart: how far each file is read. Written beside and renamed: whole, or old."""

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from log_agent.source import Key, Mark

VERSION = 1
MAX_BYTES = 16 * 2**20


@dataclass
class Entry:
    """One file."""

    key: Key
    name: str
    generation: int
    path: str
    size: int
    mark: Mark  # up to its offset the records were sent


class Unusable(Exception):
    """There is a checkpoint, and it is none. The message says why."""


def load(path: Path) -> list[Entry]:
    """The entries of a checkpoint; none where there is no file. Raises Unusable."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise Unusable(f"it is larger than {MAX_BYTES} bytes")
        document = json.loads(raw)
        if document["version"] != VERSION:
            raise Unusable("it is of another version of the agent")
        return [_entry(each) for each in document["files"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unusable(error.strerror or type(error).__name__) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable("it is torn, or no checkpoint of this agent") from error


def save(path: Path, entries: list[Entry]) -> None:
    """Write it. Raises OSError; what was there before is there still."""
    document = {"version": VERSION, "files": [asdict(entry) for entry in entries]}
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("w", encoding="ascii") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _entry(document: dict[str, Any]) -> Entry:
    mark = document["mark"]
    device, inode = document["key"]
    numbers = [
        device, inode, document["generation"], document["size"], mark["offset"], mark["head_size"], mark["tail_size"]
    ]  # fmt: skip
    if any(type(number) is not int or not 0 <= number < 2**63 for number in numbers):
        raise ValueError("a number is none")
    texts = [document["name"], document["path"], mark["head"], mark["tail"]]
    if any(type(text) is not str for text in texts) or not re.fullmatch("[0-9a-f]{0,20}", document["name"]):
        raise ValueError("a text is none")
    if mark["head_size"] > mark["offset"] or mark["tail_size"] > mark["offset"]:
        raise ValueError("a mark is none")
    return Entry(
        (device, inode), document["name"], document["generation"], document["path"], document["size"], Mark(**mark)
    )
