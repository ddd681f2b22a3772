"""The request threads, and how they tell the main thread that they are done.

What ThreadPoolExecutor adds (a future for each piece of work, with its lock, its state and its callbacks) nobody here
needs. Each wake-up of the main thread is a write and a read of a pipe: one is enough however much there is to tell.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from gunicorn.workers.gthread import PollableMethodQueue  # type: ignore[import-untyped] # gunicorn ships no types


class Threads:
    """``count`` threads that call ``work`` with what is put. ``work`` raises nothing."""

    def __init__(self, count: int, work: Callable[[Any], None]) -> None:
        self._work = work
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Daemons: a worker that can't start must be able to end. At a normal end none of them has anything to do.
        self._threads = [
            threading.Thread(target=self._run, name=f"request-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, item: Any) -> None:
        """One of the threads takes it up, in the order of coming."""
        self._queue.put(item)

    def shutdown(self, *, wait: bool = False, cancel_futures: bool = False) -> None:
        """Each thread ends after what it is at. The arguments are ThreadPoolExecutor's, and these their only values."""
        if cancel_futures:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._queue.get_nowait()
        for _ in self._threads:
            self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._work(item)


class Inbox(PollableMethodQueue):  # type: ignore[misc] # of gunicorn
    """What the threads want the main thread to do. gunicorn's writes a byte for each; this one where none is there."""

    _told = False  # a byte is in the pipe

    def defer(self, callback: Callable[..., None], *args: Any) -> None:
        """Let the main thread call it. From any thread, and from signal handlers."""
        self._queue.put(partial(callback, *args))
        if not self._told:
            self._told = True
            with contextlib.suppress(BlockingIOError):  # full: then it is told
                os.write(self._write_fd, b"\0")

    def run_callbacks(self, _fileobj: Any, max_callbacks: int = 50) -> None:
        """Called in the main thread when the pipe is readable. What is put meanwhile has a byte."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, max_callbacks)
        self._told = False  # before the queue is emptied: what comes after that is told again
        for _ in range(self._queue.qsize()):
            self._queue.get_nowait()()
