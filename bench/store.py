"""The object store of the rows with files: the strict server of the tests, in memory, on the generator's core."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench.machine import cores, on_core
from bench.servers import Server, service
from tests.support.gcs import create_bucket, object_names, strict_gcs
from tests.support.product import Visitor
from tests.support.service import PROJECT

BUCKET = "files"
MEMORY = "/dev/shm"  # noqa: S108 -- a folder of our own in it


class Library:
    """rivals/library.py as a process on the server's core."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, *words: object) -> float:
        """Seconds that a command took."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the library has no pipes")
        stdin.write(" ".join(map(str, words)) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError("the client library failed; see its stack above")
        return float(line)


@dataclass(frozen=True)
class Stores:
    """The service with files in the store, the library alone before the same one, and the store itself."""

    url: str
    ours: Server
    library: Library

    def delete(self, name: str) -> None:
        """Straight from the store."""
        self._ask("DELETE", f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}")

    def owner(self) -> str:
        """The folder of the one visitor who has a file."""
        (name,) = (name for name in object_names(self.url, BUCKET) if name.startswith("visitors/"))
        return name.split("/")[1]

    def fill(self, folder: str, count: int) -> None:
        """So many small objects, straight into the store."""
        netloc = urlsplit(self.url).netloc
        with contextlib.closing(http.client.HTTPConnection(netloc, timeout=60)) as connection:
            for number in range(count):
                name = f"{folder}{number:06d}"
                body = (
                    "--b\r\nContent-Type: application/json\r\n\r\n"
                    f"{json.dumps({'name': name})}\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"
                )
                path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
                connection.request("POST", path, body, {"Content-Type": "multipart/related; boundary=b"})
                response = connection.getresponse()
                if response.read() is None or response.status != 200:
                    raise RuntimeError(f"the store could not be filled: {response.status}")

    def _ask(self, method: str, path: str) -> None:
        with contextlib.closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)) as connection:
            connection.request(method, path, headers={"Content-Length": "0"})
            response = connection.getresponse()
            response.read()
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status}")


@contextlib.contextmanager
def stores(folder: Path) -> Iterator[Stores]:
    """All three, with their files in memory."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else str(folder)
    with contextlib.ExitStack() as stack:
        files = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=place)))
        with on_core(cores()[1]):
            url = stack.enter_context(strict_gcs(files)).url
        create_bucket(url, BUCKET)
        settings = {"STORAGE_URL": f"gs://{BUCKET}", "MAX_FILES": "1000000", "MAX_TOTAL_BYTES": "1024GiB"}
        ours = stack.enter_context(service(folder, settings, STORAGE_EMULATOR_HOST=url))
        with on_core(cores()[0]):
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.rivals.library", BUCKET],
                cwd=PROJECT,
                env=dict(os.environ) | {"STORAGE_EMULATOR_HOST": url},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        stack.enter_context(process)  # closes its pipes, which ends it, and waits
        yield Stores(url, ours, Library(process))


def visitor(server: Server) -> Visitor:
    """One who waits for large files."""
    return Visitor(server.url, timeout=300)
