"""The client library alone, as its documentation shows it, on commands from standard input; each response is seconds.

``up NAME SIZE COUNT``, ``down NAME COUNT`` and ``list PREFIX``: COUNT transfers one after the other.
"""

import io
import sys
from collections.abc import Iterable
from time import perf_counter

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage


class Zeros(io.RawIOBase):
    """A file of zeros that costs nothing to read."""

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0
        self._zeros = bytes(min(size, 2**20))

    def read(self, size: int = -1, /) -> bytes:
        left = self._size - self._at
        take = left if size < 0 else min(size, left)
        self._at += take
        return self._zeros[:take] if take <= len(self._zeros) else bytes(take)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return False


class Sink(io.RawIOBase):
    """Takes everything and keeps nothing."""

    def write(self, data: object, /) -> int:
        return len(memoryview(data))  # type: ignore[arg-type] # whatever a raw stream is given

    def writable(self) -> bool:
        return True


def main(bucket_name: str) -> None:
    """Serve commands until the end of the input."""
    client = storage.Client(project="test", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call] # typed in parts
    bucket = client.bucket(bucket_name)
    for line in sys.stdin:
        verb, name, *numbers = line.split()
        started = perf_counter()
        match verb:
            case "up":
                size, count = map(int, numbers)
                for number in range(count):
                    blob = bucket.blob(f"{name}-{number}")
                    blob.upload_from_file(Zeros(size), size=size, if_generation_match=0, checksum="crc32c")
            case "down":
                for _ in range(int(numbers[0])):
                    bucket.blob(name).download_to_file(Sink(), checksum="crc32c")
            case "list":
                _count(client.list_blobs(bucket, prefix=name))
        print(perf_counter() - started, flush=True)


def _count(blobs: Iterable[object]) -> int:
    return sum(1 for _ in blobs)


if __name__ == "__main__":
    main(sys.argv[1])
