"""Connections to pods through one ``kubectl exec``, where pods can't be reached from this machine.

`kubectl port-forward` ends with the first connection that is reset, and tests reset many. This file runs at both ends:
here it is imported, in a pod it is a program that needs nothing but Python. What passes between them are frames: the
number of the connection, what it is, and so many bytes.
"""

import contextlib
import queue
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

HEAD = struct.Struct(">IcI")
OPEN, DATA, END, GONE = b"O", b"D", b"E", b"G"  # an address and port to connect to; bytes; no more bytes; broken off


class Link:
    """One end. Each connection has a thread for each direction, so that a slow one holds up no other."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()
        self._queues: dict[int, queue.SimpleQueue[tuple[bytes, bytes]]] = {}
        self._last = 0

    def dial(self, address: str, port: int) -> socket.socket:
        """A connection to there. Where it can't be made, it is closed at once."""
        ours, theirs = socket.socketpair()
        with self._lock:
            self._last += 1
            number = self._last
        self._begin(number, theirs)
        self._send(number, OPEN, f"{address} {port}".encode())
        threading.Thread(target=self._read, args=(number, theirs), daemon=True).start()
        return ours

    def serve(self) -> None:
        """Take the other end's frames, until there are no more."""
        while len(head := self._source.read(HEAD.size)) == HEAD.size:
            number, kind, length = HEAD.unpack(head)
            data = self._source.read(length)
            if kind == OPEN:
                self._begin(number, None)
            if number in self._queues:
                self._queues[number].put((kind, data))

    def _begin(self, number: int, connection: socket.socket | None) -> None:
        self._queues[number] = queue.SimpleQueue()
        threading.Thread(target=self._write, args=(number, connection), daemon=True).start()

    def _send(self, number: int, kind: bytes, data: bytes = b"") -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._sink.write(HEAD.pack(number, kind, len(data)) + data)
            self._sink.flush()

    def _read(self, number: int, connection: socket.socket) -> None:
        """What the connection says goes to the other end."""
        try:
            while data := connection.recv(65536):
                self._send(number, DATA, data)
            self._send(number, END)
        except OSError:
            self._send(number, GONE)

    def _write(self, number: int, connection: socket.socket | None) -> None:
        """What the other end says goes to the connection; it is made first where there is none."""
        frames = self._queues[number]
        try:
            while True:
                kind, data = frames.get()
                if kind == OPEN:
                    address, port = data.split()
                    connection = socket.create_connection((address.decode(), int(port)), timeout=5)
                    connection.settimeout(None)
                    threading.Thread(target=self._read, args=(number, connection), daemon=True).start()
                elif kind == DATA and connection:
                    connection.sendall(data)
                elif kind == END and connection:
                    connection.shutdown(socket.SHUT_WR)
                else:
                    break
        except OSError:
            self._send(number, GONE)
        del self._queues[number]
        if connection:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def tunnel(command: Sequence[str]) -> Iterator[Link]:
    """The link to the program at the other end of a command: ``kubectl exec -i POD --``."""
    program = Path(__file__).read_text()
    process = subprocess.Popen([*command, "python", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    link = Link(process.stdout, process.stdin)  # type: ignore[arg-type] # binary, as no encoding was given
    taking = threading.Thread(target=link.serve, daemon=True)
    taking.start()
    try:
        yield link
    finally:
        process.terminate()
        process.wait()
        taking.join(10)
        process.stdin.close()
        process.stdout.close()


if __name__ == "__main__":
    Link(sys.stdin.buffer, sys.stdout.buffer).serve()
