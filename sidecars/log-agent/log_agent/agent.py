"""Which files there are, what became of them, and what is read next.

A turn looks at the folders, finds out what was renamed, truncated, copied or deleted, and then reads. Nothing is
given up before it is read to its end: an open file outlives its name.
"""

import errno
import fnmatch
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from log_agent import checkpoint, output
from log_agent.checkpoint import Entry
from log_agent.config import Config
from log_agent.formats import Format
from log_agent.metrics import Metrics
from log_agent.records import Record
from log_agent.source import HEAD, START, Key, Past, Source, Truncated, insert_id

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
CHUNKS = 16  # of one file in one turn, so that none starves
COPY_SECONDS = 10.0  # a copy is looked for so long after a truncation, and a truncation so long after a copy
GONE_SECONDS = 30.0  # a file without a name is kept open so long after its last byte
SAVE_SECONDS = 1.0
FINISH_SECONDS = 20.0  # for the end, where somebody goes on writing


@dataclass
class Found:
    """A file that was opened."""

    fd: int
    key: Key
    path: str
    form: Format


@dataclass
class Held:
    """A file that looks like a copy of another: it is known for sure when the other is truncated."""

    file: Found
    original: Source
    generation: int
    until: float
    size: int = -1  # when it was last seen to be one


class Agent:
    """Reads, and writes records. ``write`` takes whole lines, and returns when they are out of our hands."""

    def __init__(self, config: Config, metrics: Metrics, write: Callable[[bytes], None] = output.write) -> None:
        self._config, self._metrics, self._write_lines = config, metrics, write
        self._sources: dict[Key, Source] = {}
        self._held: dict[Key, Held] = {}
        self._past: list[Past] = []
        self._known: dict[Key, Entry] = {}  # of the checkpoint, and not found yet
        self._is_first = True
        self._passed_over: set[str] = set()
        self._saved: list[Entry] = []
        self._save_at = 0.0
        self._is_saving = True
        self._behind_since: float | None = None
        if config.state is None:
            self._say("WARNING", "STATE_FILE is not set: after a restart, files are read from their beginning")
            return
        try:
            self._known = {entry.key: entry for entry in checkpoint.load(config.state)}
        except checkpoint.Unusable as why:
            self._say("WARNING", f"the checkpoint can't be used, files are read from their beginning: {why}")

    def turn(self, *, is_last: bool = False) -> bool:
        """Look and read. Whether there was anything to do."""
        self._metrics.turned = time.monotonic()
        changed = self._scan(is_last=is_last)
        for source in sorted(self._sources.values(), key=lambda source: os.fstat(source.fd).st_mtime_ns):
            changed |= self._read(source)
        self._settle()
        self._measure()
        if time.monotonic() >= self._save_at:
            self.save()
        return changed

    def finish(self) -> None:
        """Read everything to its end, send what waits for more, and remember where that was."""
        end = time.monotonic() + FINISH_SECONDS
        while self.turn(is_last=True) and time.monotonic() < end:
            pass
        for past in self._past:
            self._give_up(past)
        self._past.clear()
        for source in self._sources.values():
            self._send(source, source.assembler.flush())
        self.save()

    def close(self) -> None:
        """Give the files back. Nothing is written."""
        for fd in [*(source.fd for source in self._sources.values()), *(held.file.fd for held in self._held.values())]:
            os.close(fd)
        self._sources.clear()
        self._held.clear()

    def save(self) -> None:
        """Write the checkpoint, if it says anything new."""
        self._save_at = time.monotonic() + SAVE_SECONDS
        if self._config.state is None:
            return
        entries = [Entry(s.key, s.name, s.generation, s.path, s.size, s.mark()) for s in self._sources.values()]
        entries += self._known.values()
        # No file has such a key. Their copies go on under their names after a kill, too.
        entries += [_entry_of(past, (0, number)) for number, past in enumerate(self._past) if past.sent.offset]
        if entries == self._saved:
            return
        try:
            checkpoint.save(self._config.state, entries)
        except OSError as error:
            self._metrics.unsaved.inc()
            if self._is_saving:
                self._say(
                    "ERROR", f"the checkpoint can't be written, a restart will send records twice: {error.strerror}"
                )
            self._is_saving = False
            return
        self._saved = entries
        if not self._is_saving:
            self._say("NOTICE", "the checkpoint can be written again")
        self._is_saving = True

    def _scan(self, *, is_last: bool) -> bool:
        found = self._find()
        changed = False
        for key, source in list(self._sources.items()):
            if key in found:
                path = found[key][0]
                if path != source.path:
                    self._metrics.rotations.labels("rename").inc()
                    source.former.add(source.path)
                    source.path = path
                source.misses = 0
            else:
                source.misses += 1
            changed |= self._look_for_truncation(source)
            self._look_for_end(source)
        for held in list(self._held.values()):
            changed |= self._decide(held, is_last=is_last)
        if self._is_first:
            self._is_first = False
            self._past += [_past_of(self._known.pop(key)) for key in list(self._known) if key not in found]
        # Those that the checkpoint knows first: where one was truncated, another may be its copy.
        for key in sorted(found, key=lambda key: key not in self._known):
            if key not in self._sources and key not in self._held:
                changed |= self._discover(*found[key])
        self._look_at_past(is_last=is_last)
        return changed

    def _find(self) -> dict[Key, tuple[str, Format]]:
        """The regular files that there are, by identity. Links are not followed: they lead where the writer likes."""
        found: dict[Key, tuple[str, Format]] = {}
        for pattern, form in self._config.files:
            folder, wanted = os.path.split(pattern)
            try:
                place = _open(folder, os.O_DIRECTORY)
            except OSError as error:
                self._pass_over(folder, _why(error))
                continue
            try:
                for name in sorted(fnmatch.filter(os.listdir(place), wanted)):
                    if name.endswith(COMPRESSED):
                        continue
                    path = os.path.join(folder, name)
                    try:
                        status = os.lstat(name, dir_fd=place)
                    except OSError:
                        continue  # renamed or deleted just now
                    if stat.S_ISREG(status.st_mode):
                        found.setdefault((status.st_dev, status.st_ino), (path, form))
                    else:
                        self._pass_over(path, "it is no regular file")
            finally:
                os.close(place)
        return found

    def _discover(self, path: str, form: Format) -> bool:
        try:
            fd = _open(path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._pass_over(path, _why(error))
            return False
        status = os.fstat(fd)
        key = status.st_dev, status.st_ino
        if not stat.S_ISREG(status.st_mode) or key in self._sources or key in self._held:
            os.close(fd)  # the name was given to another file meanwhile: the next turn sees it
            return False
        file = Found(fd, key, path, form)
        entry = self._known.pop(key, None)
        if entry is not None and entry.mark.is_in(fd):
            self._add(file, entry.mark.offset, entry.generation, entry.name)
            return True
        generation = 0
        if entry is not None:  # truncated, or another file with the same inode
            generation = entry.generation + 1
            self._past.append(_past_of(entry))
        original = self._original_of(file, status.st_size)
        if original is not None:
            self._held[key] = Held(file, original, original.generation, time.monotonic() + COPY_SECONDS)
            return False
        for source in self._sources.values():  # in this order: what is no original any more was truncated before now
            self._look_for_truncation(source)
        if not self._join_past(file):
            self._add(file, 0, generation)
        return True

    def _add(self, file: Found, place: int, generation: int = 0, name: str = "") -> None:
        """Read a file from this place on."""
        self._sources[file.key] = Source(file.fd, file.key, file.path, file.form, place, generation, name)
        self._save_at = 0.0  # with this turn: what is known of it, such as whose copy it is, survives a kill

    def _original_of(self, file: Found, size: int) -> Source | None:
        """The file in the same folder that this looks like a copy of. What has taken over a file's name is no copy."""
        folder = os.path.dirname(file.path)
        start = os.pread(file.fd, START, 0)
        for source in self._sources.values():
            if not start.startswith(source.start) and not source.start.startswith(start):
                continue
            is_beside = os.path.dirname(source.path) == folder and file.path not in source.former
            if size and is_beside and source.is_prefix_of(file.fd, size):
                return source
        return None

    def _join_past(self, file: Found) -> bool:
        """Whether this is the copy of what another file was: then it is read on from where that one was read to."""
        for past in self._past:
            if os.path.dirname(past.path) == os.path.dirname(file.path) and past.mark.is_in(file.fd):
                self._past.remove(past)
                self._metrics.rotations.labels("copy").inc()
                self._add(file, past.emitted, past.generation, past.name)
                return True
        return False

    def _decide(self, held: Held, *, is_last: bool) -> bool:
        """What a file that looked like a copy is."""
        file, original = held.file, held.original
        size = os.fstat(file.fd).st_size
        if held.generation == original.generation and original.is_prefix_of(file.fd, size):
            if time.monotonic() < held.until and not is_last:
                held.size = size
                return False
            # A copy for its own sake. What is too short to be sure of is sent twice rather than not at all.
            place = size if size >= HEAD else 0
            self._add(file, place, original.generation, original.name if place else "")
        elif held.generation != original.generation and size == held.size and self._was_read(original, held):
            self._metrics.rotations.labels("copy").inc()
            self._add(file, size)  # the original grew, and was read, after it was copied
        elif not self._join_past(file):
            self._add(file, 0)
        del self._held[file.key]
        return True

    def _was_read(self, original: Source, held: Held) -> bool:
        """Whether the original was read further than its copy goes, before it was truncated."""
        past = [p for p in self._past if p.generation == held.generation and p.path == original.path]
        return bool(past) and past[-1].mark.offset > held.size

    def _look_for_truncation(self, source: Source) -> bool:
        if not source.is_truncated():
            return False
        self._truncate(source)
        return True

    def _truncate(self, source: Source) -> None:
        self._metrics.rotations.labels("truncate").inc()
        past = source.truncate(time.monotonic() + COPY_SECONDS)
        if past.mark.offset:
            self._past.append(past)
        self.save()  # the generation is a part of insertId

    def _look_for_end(self, source: Source) -> None:
        """Close what has no name any more, when nobody has written to it for long."""
        if source.misses < 2:
            return
        if source.gone_since is None:
            source.gone_since = time.monotonic()
            self._metrics.rotations.labels("unlink").inc()
        is_quiet = time.monotonic() - max(source.gone_since, source.quiet_since) > GONE_SECONDS
        if is_quiet and source.size <= source.position:
            self._send(source, source.assembler.flush())
            os.close(source.fd)
            del self._sources[source.key]

    def _look_at_past(self, *, is_last: bool) -> None:
        """Truncations whose copy does not come, and what only the checkpoint knows."""
        for past in list(self._past):
            if time.monotonic() > past.until and not is_last:
                self._past.remove(past)
                self._give_up(past)

    def _give_up(self, past: Past) -> None:
        """No copy has come: send what was read, and count what was not."""
        if past.rest is not None and past.form is not None:
            for record in past.rest.flush():
                self._write([(record, past.form, past.path, insert_id(past.name, record))])
        elif past.size > past.emitted:
            self._metrics.lost_files.inc()
            self._metrics.lost_bytes.inc(past.size - past.emitted)
            lost = past.size - past.emitted
            self._say("ERROR", f"{past.path} was deleted or truncated before its last {lost} bytes at least were read")

    def _read(self, source: Source) -> bool:
        """A few chunks of a file. Whether there was anything."""
        if source.position == 0:
            self._metrics.holes.inc(source.skip_hole())
        before = source.position
        try:
            for _ in range(CHUNKS):
                place = source.position
                self._send(source, source.read())
                if source.position == place:
                    break
        except Truncated:
            self._truncate(source)
            return True
        if source.position == before:
            return False
        source.quiet_since = time.monotonic()
        return True

    def _settle(self) -> None:
        """Records that nothing was added to for long enough are whole."""
        for source in self._sources.values():
            quiet = time.monotonic() - source.quiet_since
            if source.assembler.waiting and quiet >= self._config.record_seconds:
                is_over = quiet >= GONE_SECONDS and (source.gone_since is not None or source.former)
                self._send(source, source.assembler.flush() if is_over else source.assembler.settle())

    def _send(self, source: Source, records: Iterable[Record]) -> None:
        is_new = not source.name
        batch = [(record, source.form, source.path, insert_id(source.identity(), record)) for record in records]
        if batch:
            self._write(batch)
            source.emitted = batch[-1][0].end
            if is_new:
                self._save_at = 0.0  # a copy of it is known as one then, after a kill, too

    def _write(self, batch: list[tuple[Record, Format, str, str]]) -> None:
        lines = []
        for record, form, path, name in batch:
            line, is_parsed, is_clipped = output.encode(record, form, path=path, insert_id=name)
            lines.append(line)
            self._metrics.unparsed.inc(not is_parsed)
            self._metrics.clipped.inc(is_clipped)
        self._metrics.is_blocked = True
        self._write_lines(b"".join(lines))
        self._metrics.is_blocked = False
        self._metrics.records.inc(len(batch))
        self._metrics.lines.inc(sum(record.lines for record, *_ in batch))
        self._metrics.bytes.inc(sum(record.size for record, *_ in batch))

    def _measure(self) -> None:
        behind = sum(max(0, source.size - source.emitted) for source in self._sources.values())
        if not behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()
        self._metrics.files.set(len(self._sources))
        self._metrics.lag_bytes.set(behind)
        self._metrics.lag_seconds.set(time.monotonic() - self._behind_since if self._behind_since else 0)

    def _pass_over(self, path: str, why: str) -> None:
        if path not in self._passed_over and len(self._passed_over) < 1000:
            self._passed_over.add(path)
            self._say("WARNING", f"{path} is passed over: {why}")

    def _say(self, severity: str, message: str) -> None:
        self._write_lines(output.say(severity, message))


def _open(path: str, flags: int = 0) -> int:
    """Open for reading without following a link, not even one in the place of a folder. Raises OSError."""
    *folders, name = [part for part in path.split("/") if part] or ["."]
    place = os.open("/", os.O_PATH)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, dir_fd=place)
    finally:
        os.close(place)


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return "a part of it is a link, or no folder"
    return error.strerror or type(error).__name__


def _past_of(entry: Entry) -> Past:
    until = time.monotonic() + COPY_SECONDS
    return Past(entry.name, entry.generation, entry.mark, entry.mark.offset, entry.mark, entry.path, entry.size, until)


def _entry_of(past: Past, key: Key) -> Entry:
    """Its size is such that what is counted as lost, where no copy comes, is what was not sent."""
    unsent = max(0, past.size - past.emitted)
    return Entry(key, past.name, past.generation, past.path, past.sent.offset + unsent, past.sent)
