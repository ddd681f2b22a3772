"""1 GiB up and down: how much memory it takes, and that no byte of it touches the local disk.

The store runs in a child process, this file run as a program, so that only its own memory is measured.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.gcs import ROOT, create_bucket, strict_gcs

MIB = 2**20
MAX_GROWTH = 32 * MIB


@pytest.mark.timeout(300)
def test_one_gib_goes_through_in_bounded_memory_and_touches_no_disk(tmp_path: Path) -> None:
    with strict_gcs(tmp_path) as server:
        create_bucket(server.url, "files")
        command = [sys.executable, "-m", "tests.storage.test_large", server.url, "1024"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=280, check=True)
        server_peak = peak(server.pid)
    report = json.loads(done.stdout)
    print(f"\n1 GiB: {report}, the server's peak {server_peak / MIB:.0f} MiB")
    assert report["read"] == 1024 * MIB
    assert report["growth"] <= MAX_GROWTH
    assert report["opened"] == []
    assert report["written_to_disk"] == 0
    assert server_peak < 128 * MIB


def test_six_uploads_at_once_take_eight_mib_each(tmp_path: Path) -> None:
    with strict_gcs(tmp_path) as server:
        create_bucket(server.url, "files")
        command = [sys.executable, "-m", "tests.storage.test_large", server.url, "48", "6"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=120, check=True)
    growth = json.loads(done.stdout)
    print(f"\nsix at once: {growth / MIB:.0f} MiB")
    assert growth < 6 * 10 * MIB


def peak(pid: int | str) -> int:
    """The most memory that a process ever had, in bytes."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def transfer(url: str, mebibytes: int) -> dict[str, object]:
    """Up and down again, after a small transfer that warms up; what it took."""
    from google.auth.credentials import AnonymousCredentials

    from service.storage.gcs import GcsClient, GcsStore

    opened: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if (
            event == "open"
            and isinstance(flags := arguments[2], int)
            and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            opened.append(str(arguments[0]))

    def body(count: int) -> Iterator[bytes]:
        for number in range(4 * count):
            yield number.to_bytes(4, "big") * (64 * 1024)  # 256 KiB, never the same

    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
    store = GcsStore(GcsClient("files", endpoint=url, credentials=nobody))

    def go(name: str, count: int) -> int:
        info = store.put(f"visitors/owner/{name}", body(count), content_type="a/b", generation=0)
        return sum(map(len, store.get(info, 0, info.size)))

    go("small", 1)
    sys.addaudithook(watch)
    before, written = peak("self"), written_to_disk()
    read = go("large", mebibytes)
    growth, written = peak("self") - before, written_to_disk() - written
    store.close()
    return {"read": read, "growth": growth, "opened": opened, "written_to_disk": written}


def uploads_at_once(url: str, mebibytes: int, count: int) -> int:
    """How many bytes of memory so many uploads take at once, each of so many MiB."""
    from google.auth.credentials import AnonymousCredentials

    from service.storage.gcs import GcsClient, GcsStore

    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
    store = GcsStore(GcsClient("files", endpoint=url, credentials=nobody))

    def put(name: object, pieces: int) -> None:
        body = iter([bytes(256 * 1024)] * pieces)
        store.put(f"visitors/owner/{name}", body, content_type="a/b", generation=0)

    put("small", 1)
    before = peak("self")
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(put, range(count), [4 * mebibytes] * count))
    store.close()
    return peak("self") - before


def written_to_disk() -> int:
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("write_bytes"))
    return int(line.split()[1])


if __name__ == "__main__":
    what: Callable[..., object] = uploads_at_once if len(sys.argv) > 3 else transfer
    print(json.dumps(what(sys.argv[1], *map(int, sys.argv[2:]))))
