"""Faults on order, and the count of calls.

A fault waits for a call (``call``, see server.py for their names; ``*`` is every call) and happens ``times`` times
(-1: until it is cleared):

- ``{"kind": "status", "status": 503}``: answer with that status, without doing anything
- ``{"kind": "latency", "seconds": 1.5}``: wait before doing it
- ``{"kind": "drop", "after": n}``: read n bytes of the request's body, then close the connection, without an answer
- ``{"kind": "lost", "seconds": 1.5}``: do it, wait, then close the connection without an answer
- ``{"kind": "cut", "after": n}``: do it, send n bytes of the answer's body, then close the connection
- ``{"kind": "corrupt"}``: of a download, change the last byte; of an upload, answer with a wrong checksum
- ``{"kind": "bare"}``: of a download, send no headers that describe the object
- ``{"kind": "nothing"}``: of a download, say that the object has no bytes, and send none
- ``{"kind": "damage"}``: of an upload, change a byte before it is looked at
- ``{"kind": "stall"}``: of a chunk, keep nothing and say so (308)
- ``{"kind": "garbage"}``: do it, and answer 200 with text that is no JSON
- ``{"kind": "empty"}``: do it, and answer 200 without a body
- ``{"kind": "foreign"}``: do it, and answer 200 with JSON that is of something else
- ``{"kind": "forget"}``: of a resumable session, as if it had expired (410)

Calls are counted by name when they arrive, whatever becomes of them.
"""

import collections
import threading
from dataclasses import dataclass


@dataclass
class Fault:
    """One kind of fault for one kind of call."""

    call: str
    kind: str
    times: int = 1
    status: int = 503
    seconds: float = 0.0
    after: int = 0
    skip: int = 0  # let so many calls pass first


class Faults:
    """What is on order, and what was counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._calls: collections.Counter[str] = collections.Counter()

    def order(self, fault: Fault) -> None:
        """Let it happen from now on."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults and counts."""
        with self._lock:
            self._faults.clear()
            self._calls.clear()

    def calls(self) -> dict[str, int]:
        """How often each call arrived."""
        with self._lock:
            return dict(self._calls)

    def arrived(self, call: str) -> list[Fault]:
        """Count a call, and say what is to go wrong with it."""
        due = []
        with self._lock:
            self._calls[call] += 1
            for fault in self._faults:
                if fault.call not in (call, "*") or fault.times == 0:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                due.append(fault)
        return due
