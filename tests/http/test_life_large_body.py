"""1 GiB up and down through the whole service, in bounded memory and with no byte on the local disk."""

import hashlib
import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.probe import path_of
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.http import Visitor
from tests.support.service import Service, running_service

GIB = 2**30
BLOCK = bytes(range(256)) * 4096  # 1 MiB
LIMIT = 32 * 2**20  # bytes above the peak after a small file


def peak(service: Service) -> int:
    """The most memory that any of the service's processes ever held, in bytes."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return max(
        int(line.split()[1]) * 1024
        for pid in children
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )


def written(service: Service) -> int:
    """Bytes that the service's workers caused to be written to a disk."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return sum(
        int(line.split()[1])
        for pid in children
        for line in Path(f"/proc/{pid}/io").read_text().splitlines()
        if line.startswith("write_bytes")
    )


def test_a_gib_goes_up_and_down_in_bounded_memory(tmp_path: Path) -> None:
    with strict_gcs(tmp_path) as gcs:
        create_bucket(gcs.url, "files")
        settings = {"STORAGE_URL": "gs://files", "STORAGE_EMULATOR_HOST": gcs.url, "STORAGE_TIMEOUT": "60s"}
        with running_service(tmp_path, settings) as service, Visitor(service.app_url, timeout=120) as visitor:
            visitor.put("small", b"x" * 1_000_000)
            visitor.get(path_of("small"))
            at_rest, on_disk = peak(service), written(service)

            def body() -> Iterator[bytes]:
                for _ in range(GIB // len(BLOCK)):
                    yield BLOCK

            answer = visitor.ask("PUT", path_of("large"), body(), {"Content-Length": str(GIB)})
            assert (answer.status, answer.json["size"]) == (201, GIB)
            after_upload = peak(service)

            connection = http.client.HTTPConnection(urlsplit(service.app_url).netloc, timeout=120)
            connection.request("GET", path_of("large"))
            response = connection.getresponse()
            digest, expected = hashlib.sha256(), hashlib.sha256()
            while block := response.read(len(BLOCK)):
                digest.update(block)
                expected.update(BLOCK[: len(block)])
            connection.close()
            assert digest.digest() == expected.digest()
            grown = peak(service) - at_rest
            print(f"grew by {(after_upload - at_rest) / 2**20:.1f} MiB up, {grown / 2**20:.1f} MiB up and down")
            assert grown <= LIMIT
            assert written(service) - on_disk < 2**20
