"""A small disk that can be full: a file system in memory, in a name space of its own, reached by its holder's root."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import require


@dataclass(frozen=True)
class Disk:
    """Where it is, as a path from anywhere."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte of it."""
        with (self.folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        (self.folder / "filler").unlink()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A disk of 64 KiB over a folder. It needs name spaces of users (unshare) where we are not root."""
    folder.mkdir()
    script = 'mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" && echo mounted && exec cat'
    command = [require("unshare", "util-linux"), "--mount", "--map-root-user", "sh", "-c", script, "sh", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            raise RuntimeError("unshare and mount give no disk: see what they said")
        yield Disk(Path(f"/proc/{holder.pid}/root{folder}"))
        holder.communicate()
