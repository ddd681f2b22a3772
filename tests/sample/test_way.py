"""How many files and calls of ours a request passes through, on Redis and object storage."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.gcs import create_bucket, strict_gcs
from tests.support.processes import stop, wait_until
from tests.support.product import Visitor, file_path
from tests.support.profiled import COUNT, OFF, WRITE
from tests.support.redis import redis_server
from tests.support.service import DEFAULTS, PROJECT, Service

REQUESTS = 40
# 25 and 160 without the stores' bulkheads, the deadline of the bucket and the bounded queue. A busy machine adds a few.
MOST_FILES, MOST_CALLS = 28, 205


def turn(switch: Path, position: int) -> None:
    """Not Path.write_bytes(), which would cut the file that is mapped into memory."""
    with switch.open("r+b") as file:
        file.write(bytes([position]))


def test_a_file_is_read_through_few_files_and_calls(tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    switch.write_bytes(bytes([OFF]))
    with redis_server(tmp_path) as redis, strict_gcs(tmp_path) as store:
        create_bucket(store.url, "files")
        environ = DEFAULTS | {
            "SESSION_URL": redis.url,
            "STORAGE_URL": "gs://files",
            "STORAGE_EMULATOR_HOST": store.url,
            "DEPENDENCY_CHECK_INTERVAL": "300s",
            "THREADS": "2",
            "SESSION_TIMEOUT": "10s",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.profiled", str(tmp_path)],
            cwd=PROJECT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        service = Service(process)
        try:
            service.wait_until_listening()
            with Visitor(service.app_url) as visitor:
                visitor.put("x", b"some bytes")
                for _ in range(10):
                    assert visitor.get(file_path("x")).status == 200
                turn(switch, COUNT)
                for _ in range(REQUESTS):
                    visitor.get(file_path("x"))
                turn(switch, WRITE)
                visitor.get(file_path("x"))
            wait_until("the counts", (tmp_path / "calls.json").exists)
        finally:
            stop(process)
            service.wait_for_end()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
    counts = Counter(json.loads((tmp_path / "calls.json").read_text()))
    # What is called less than every other time is the loop's own, and not on the way.
    on_the_way = {name: round(count / REQUESTS) for name, count in counts.items() if count > REQUESTS / 2}
    files = {name.partition(":")[0] for name in on_the_way}
    calls = sum(on_the_way.values())
    print(f"GET /api/files/x: {calls} calls in {len(files)} files", *sorted(on_the_way.items()), sep="\n")
    assert len(files) <= MOST_FILES
    assert calls <= MOST_CALLS
