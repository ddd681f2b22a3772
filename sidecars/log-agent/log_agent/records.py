"""Lines become records: bounded in lines, bytes and time, whatever is in the file."""

from collections.abc import Iterator
from dataclasses import dataclass

from log_agent.formats import Format

MAX_LINES = 500  # of one record
MAX_BYTES = 64 * 1024  # kept of one record; what is longer is clipped, and the rest is passed over


@dataclass
class Record:
    """A record as it is in the file: ``end`` is the offset behind it, ``size`` its length, with what is clipped."""

    offset: int
    end: int
    lines: int = 0
    content: bytes = b""
    is_clipped: bool = False

    @property
    def size(self) -> int:
        return self.end - self.offset


class Assembler:
    """Takes a file's bytes in any pieces, gives whole records.

    ``offset`` is where the first byte that is not in a given record stands in the file.
    """

    def __init__(self, form: Format, offset: int) -> None:
        self._form = form
        self._line = bytearray()  # the line that is not complete yet, or the beginning of it
        self._line_size = 0
        self._record: Record | None = None
        self._content = bytearray()  # of the record
        self.offset = offset

    @property
    def waiting(self) -> bool:
        """Whether there are bytes that are in no record yet."""
        return self._record is not None or self._line_size > 0

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that are complete now. All must be taken before more is fed."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._add(data[start : end + 1])
            yield from self._end_of_line()
            start = end + 1
        self._add(data[start:])

    def settle(self) -> Iterator[Record]:
        """No more lines of the record are waited for. A line that is not complete stays."""
        if self._record is not None and not self._line_size:
            yield self._take()

    def flush(self) -> Iterator[Record]:
        """What is there is all there is."""
        if self._line_size:
            yield from self._end_of_line()
        yield from self.settle()

    def _add(self, piece: bytes) -> None:
        self._line += piece[: max(0, MAX_BYTES - len(self._line))]
        self._line_size += len(piece)

    def _end_of_line(self) -> Iterator[Record]:
        line, size = bytes(self._line), self._line_size
        self._line.clear()
        self._line_size = 0
        content = line.rstrip(b"\r\n").lstrip(b"\0")  # NULs: a hole that a truncation has left
        record = self._record
        if record is not None and (
            self._form.starts(content) or record.lines >= MAX_LINES or len(self._content) >= MAX_BYTES
        ):
            yield self._take()
            record = None
        if record is None:
            record = self._record = Record(self.offset, self.offset)
        else:
            self._content += b"\n"
        room = max(0, MAX_BYTES - len(self._content))
        self._content += content[:room]
        record.is_clipped |= len(content) > room or size > len(line)
        record.lines += 1
        record.end += size

    def _take(self) -> Record:
        record = self._record
        assert record is not None  # noqa: S101 -- callers have looked
        record.content = bytes(self._content)
        self._record = None
        self._content.clear()
        self.offset = record.end
        return record
