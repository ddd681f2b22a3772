"""A TCP proxy between a client and a server, that delays, swallows, or makes up what is said."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator


class Proxy:
    """Set its fields at any time; they count from the next bytes on.

    ``delay``: seconds before each answer is passed on. ``swallow``: nothing is passed on, and nothing is refused.
    ``answer``: what is sent back to whatever is asked, instead of the server's answer. ``drip``: answers come a byte at
    a time, with so many seconds between. ``cut``: the connection is closed where an answer would be passed on.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.delay = 0.0
        self.swallow = False
        self.answer = b""
        self.drip = 0.0
        self.cut = False
        self._start(self._accept)

    def close(self) -> None:
        """End all connections and wait for the threads."""
        self._done.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)  # type: ignore[arg-type] # called as given
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._done.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                with selectors.DefaultSelector() as selector:
                    selector.register(client, selectors.EVENT_READ)
                    selector.register(server, selectors.EVENT_READ)
                    while not self._done.is_set():
                        for key, _ in selector.select(0.05):
                            source = key.fileobj
                            data = source.recv(65536)  # type: ignore[union-attr] # sockets only were registered
                            if not data:
                                return
                            self._pass_on(data, client, server, to_server=source is client)

    def _pass_on(self, data: bytes, client: socket.socket, server: socket.socket, *, to_server: bool) -> None:
        if self.swallow:
            return
        if to_server:
            if self.answer:
                client.sendall(self.answer)
            else:
                server.sendall(data)
            return
        if self.cut:
            raise ConnectionAbortedError
        if self.delay:
            time.sleep(self.delay)
        if self.drip:
            for position in range(len(data)):
                client.sendall(data[position : position + 1])
                if self._done.wait(self.drip):
                    return
        else:
            client.sendall(data)


@contextlib.contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy before the port ``target`` of 127.0.0.1."""
    between = Proxy(target)
    try:
        yield between
    finally:
        between.close()


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """The port of a listener whose queue is full: connecting to it is neither accepted nor refused."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
