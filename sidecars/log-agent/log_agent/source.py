"""One file that is read, from its discovery until it is gone.

What tells files apart is the inode *and* the content: the first bytes, and the last bytes before the place that was
read to. So a truncation is seen also when the file has grown past that place again, and a reused inode is another file.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from log_agent.formats import Format
from log_agent.records import Assembler, Record

HEAD = 1024  # bytes of a file's beginning, and of what is before a place, that are compared
START = 64  # bytes that tell at a glance that files differ
CHUNK = 256 * 1024  # bytes that are read at once
TICK = 50_000_000  # nanoseconds; clocks of file systems are coarser than they look

Key = tuple[int, int]  # device and inode


def sum_of(data: bytes) -> str:
    """A short fingerprint."""
    return hashlib.sha256(data).hexdigest()[:32]


@dataclass(frozen=True)
class Mark:
    """A place in a file, told by what is there: ``head_size`` bytes at the start, ``tail_size`` before ``offset``."""

    offset: int
    head_size: int
    head: str
    tail_size: int
    tail: str

    @classmethod
    def of(cls, fd: int, offset: int) -> "Mark":
        """The mark of a place in an open file."""
        head_size, tail_size = min(HEAD, offset), min(HEAD, offset)
        head, tail = os.pread(fd, head_size, 0), os.pread(fd, tail_size, offset - tail_size)
        return cls(offset, head_size, sum_of(head), tail_size, sum_of(tail))

    def is_in(self, fd: int) -> bool:
        """Whether this file has this place."""
        if os.fstat(fd).st_size < self.offset:
            return False
        head = os.pread(fd, self.head_size, 0)
        tail = os.pread(fd, self.tail_size, self.offset - self.tail_size)
        return sum_of(head) == self.head and sum_of(tail) == self.tail


BEGINNING = Mark(0, 0, sum_of(b""), 0, sum_of(b""))


def insert_id(name: str, record: Record) -> str:
    """The same for the same record, whenever it is read. A record that has got more lines meanwhile is another one."""
    return f"{name}-{record.offset:x}-{record.size:x}"


@dataclass
class Past:
    """What a file was before it was truncated, or before the agent was started: perhaps there is a copy of it.

    ``emitted``: up to there its records were sent. ``sent``: that place or an earlier one, for the checkpoint.
    ``rest``: what was read behind it, for when no copy comes.
    """

    name: str
    generation: int
    mark: Mark
    emitted: int
    sent: Mark
    path: str
    size: int
    until: float
    rest: "Assembler | None" = None
    form: Format | None = None


@dataclass
class Source:
    """An open file, and how far it is read. ``emitted``: up to there its records were sent."""

    fd: int
    key: Key
    path: str
    form: Format
    position: int = 0
    generation: int = 0
    name: str = ""
    emitted: int = 0
    misses: int = 0  # scans in a row that did not find it
    gone_since: float | None = None  # when it was seen that it has no name any more
    quiet_since: float = 0.0
    start: bytes = b""  # the first bytes: as it was found, then what was read
    _head: bytes = b""
    _tail: bytes = b""
    _touched: int = -1
    _mark: Mark = BEGINNING
    former: set[str] = field(default_factory=set)  # paths that it had
    assembler: Assembler = field(init=False)

    def __post_init__(self) -> None:
        self.emitted = self.position
        self.assembler = Assembler(self.form, self.position)
        self.start = os.pread(self.fd, START, 0)
        self._head = os.pread(self.fd, min(HEAD, self.position), 0)
        self._tail = os.pread(self.fd, min(HEAD, self.position), max(0, self.position - HEAD))

    @property
    def size(self) -> int:
        """The file's size now, in bytes."""
        return os.fstat(self.fd).st_size

    def is_truncated(self) -> bool:
        """Whether what was read is not there any more."""
        if not self.position:
            return False
        status = os.fstat(self.fd)
        if status.st_size < self.position:
            return True
        if status.st_mtime_ns == self._touched or not self._tail:
            return False
        return os.pread(self.fd, len(self._tail), self.position - len(self._tail)) != self._tail

    def mark(self) -> Mark:
        """The place up to which records were sent, or an earlier one of the same generation.

        The file is asked what is there, and then whether it was still the same file when it said so.
        """
        if self._mark.offset != self.emitted:
            mark = Mark.of(self.fd, self.emitted)
            if not self.is_truncated():
                self._mark = mark
        return self._mark

    def _sent(self) -> Mark:
        """The same, of a file that can't be asked any more."""
        tail = self._tail[: max(0, len(self._tail) - (self.position - self.emitted))]
        head = self._head[: self.emitted]
        return Mark(self.emitted, len(head), sum_of(head), len(tail), sum_of(tail)) if tail else self._mark

    def identity(self) -> str:
        """The file's own name, between two truncations, whatever it is called. It needs the first line.

        The first line alone won't do: of two files that begin alike, Cloud Logging would drop what is no twin.
        """
        if not self.name:
            self.name = sum_of(f"{self.key[1]}.{self.generation}.".encode() + self._head.partition(b"\n")[0])[:20]
        return self.name

    def read(self) -> Iterator[Record]:
        """The records of the next chunk. Raises Truncated where what was read is not there any more.

        The bytes before the place are read again together with those behind it: so it is the same file that gave both.
        """
        self.start = self._head[:START]
        status = os.fstat(self.fd)
        if status.st_size == self.position and status.st_mtime_ns == self._touched:
            return
        overlap = len(self._tail)
        data = os.pread(self.fd, overlap + CHUNK, self.position - overlap)
        if not data.startswith(self._tail) or status.st_size < self.position:
            raise Truncated
        is_whole = len(data) < overlap + CHUNK
        # A time that is not over yet says nothing: more may be written in the same tick of the clock.
        self._touched = status.st_mtime_ns if is_whole and time.time_ns() - status.st_mtime_ns > TICK else -1
        new = data[overlap:]
        if not new:
            return
        if len(self._head) < HEAD:
            self._head += new[: HEAD - len(self._head)]
        self._tail = data[-HEAD:]
        self.position += len(new)
        yield from self.assembler.feed(new)

    def skip_hole(self) -> int:
        """Pass over a hole: a writer that goes on at its old place after a truncation leaves one. How many bytes."""
        try:
            start = os.lseek(self.fd, self.position, os.SEEK_DATA)
        except OSError:  # there is no data behind it
            return 0
        if start <= self.position:
            return 0
        skipped = start - self.position
        self.position = self.emitted = start
        self.assembler = Assembler(self.form, start)
        self._tail = os.pread(self.fd, min(HEAD, start), max(0, start - HEAD))
        return skipped

    def truncate(self, until: float) -> Past:
        """Begin again at the file's start. What it was, for finding its copy."""
        head = self._head
        mark = Mark(self.position, len(head), sum_of(head), len(self._tail), sum_of(self._tail))
        past = Past(
            self.identity(),
            self.generation,
            mark,
            self.emitted,
            self._sent(),
            self.path,
            self.position,
            until,
            self.assembler,
            self.form,
        )
        self.generation += 1
        self.name = ""
        self.position = self.emitted = 0
        self._mark = BEGINNING
        self.start = self._head = self._tail = b""
        self._touched = -1
        self.assembler = Assembler(self.form, 0)
        return past

    def is_prefix_of(self, fd: int, size: int) -> bool:
        """Whether the first ``size`` bytes of another file look like this file's."""
        count = min(HEAD, size)
        return self.size >= size and all(
            os.pread(self.fd, count, place) == os.pread(fd, count, place) for place in (0, size - count)
        )


class Truncated(Exception):
    """The file does not have any more what was read of it."""
