"""A visitor's quotas: how many files, how many bytes. They hold however many uploads race.

The session keeps the account: the counters ``files`` and ``bytes`` are raised in one atomic step *before* an upload
begins, which the store refuses over the limit, and lowered again where it fails. Each reservation has a lease, so that
what a killed process had reserved can be told from what is on its way: when the account says "full" and no lease
lives, the files are counted anew and the account is put right. Why so: docs/decisions/0005-quota-in-the-session.md.
"""

import json
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import cast

from service import sessions
from service.http.errors import Problem
from service.sample.settings import SampleSettings
from service.sessions.interface import SessionGone
from service.sessions.store import Applied, Change, Refusal, StoreUnavailable
from service.storage.store import ObjectStore

log = logging.getLogger(__name__)

LEASE = "lease:"
LEASE_SECONDS = 6 * 3600.0  # longer than any upload takes
RECOUNT_SECONDS = 30  # a full account is counted anew at most so often
GROWTH = 8 * 2**20  # a body of unknown length is accounted for in such steps


def owner_of_files() -> str:
    """Whose files these are: 128 random bits in hex, decided once for a session however many first uploads race.

    Begins a session where there is none. Raises a 413 Problem where the session has no room for it, and SessionGone.
    """
    session = sessions.current()
    known = cast("str | None", session.get("owner"))
    if known is not None:
        return known
    drawn = secrets.token_hex(16)
    value = json.dumps(drawn).encode()
    match session.step(Change(set={"owner": value}, put={"owned": 1}, expect={"owned": 0}, create=True)):
        case Applied():
            return drawn
        case Refusal.TOO_LARGE:
            raise Problem(413, "The session has no room left for files.", kind="session-too-large")
    session.refresh()
    known = cast("str | None", session.get("owner"))
    if known is None:
        raise SessionGone(moved=False)
    return known


class Reservation:
    """Room for one upload. ``settle()`` ends it: what was stored stays in the account, the rest is given back."""

    def __init__(self, quota: "Quota", lease: str, files: int, reserved: int) -> None:
        self._quota, self._lease = quota, lease
        self._files, self._bytes = files, reserved

    def grow_with(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """``body``, reserving more as it comes. Raises a 507 Problem when there is no more room."""
        seen = 0
        for chunk in body:
            seen += len(chunk)
            if seen > self._bytes:
                self._bytes += self._quota.grow(self._lease, seen - self._bytes)
            yield chunk

    def confirmed(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """``body``, and before its end the question whether the session is still there. Raises SessionGone.

        So the store commits nothing for somebody who has signed out meanwhile, or has only an id from before a sign-in.
        """
        yield from body
        sessions.current().step(Change())

    def settle(self, *, files: int, size: int) -> None:
        """The upload is over: it changed the visitor's files by ``files`` and their bytes by ``size``."""
        add = {"files": files - self._files, "bytes": size - self._bytes}
        sessions.current().step(Change(add=add, delete=frozenset({self._lease})))

    def give_back(self) -> None:
        """The upload failed. What it failed of is to be told, so nothing is raised: the lease heals the account."""
        try:
            self.settle(files=0, size=0)
        except (StoreUnavailable, SessionGone) as error:
            log.warning("a reservation was not given back: %s", error)


class Quota:
    """The account of files and bytes, kept in each visitor's session."""

    def __init__(self, storage: ObjectStore, settings: SampleSettings) -> None:
        self._storage = storage
        self._limits = {"files": settings.max_files, "bytes": settings.max_total_bytes}

    def reserve(self, owner: str, *, files: int, size: int) -> Reservation:
        """Room for an upload that adds ``files`` (0 or 1) and ``size`` bytes (0 for unknown, or where it shrinks).

        Raises a 507 Problem where there is none.
        """
        lease = LEASE + secrets.token_urlsafe(6)
        if not self._try(lease, files, size):
            self._recount(owner)
            if not self._try(lease, files, size):
                raise self._full()
        return Reservation(self, lease, files, size)

    def grow(self, lease: str, needed: int) -> int:
        """Reserve more: a large step, or the bytes that are needed where there is room for no more. How many it was.

        Raises a 507 Problem.
        """
        for size in (max(GROWTH, needed), needed):
            if self._try(lease, 0, size):
                return size
        raise self._full()

    def release(self, *, files: int, size: int) -> None:
        """Files were deleted."""
        sessions.current().step(Change(add={"files": -files, "bytes": -size}))

    def usage(self, counters: Mapping[str, int]) -> dict[str, int]:
        """The account and its limits, for the visitor."""
        return {
            "files": counters.get("files", 0),
            "bytes": counters.get("bytes", 0),
            "max_files": self._limits["files"],
            "max_bytes": self._limits["bytes"],
        }

    def _try(self, lease: str, files: int, size: int) -> bool:
        values = {lease: json.dumps(int(time.time() + LEASE_SECONDS)).encode()}
        change = Change(set=values, add={"files": files, "bytes": size}, at_most=self._limits, create=True)
        match sessions.current().step(change):
            case Applied():
                return True
            case Refusal.OVER_LIMIT:
                return False
            case Refusal.TOO_LARGE:
                headers = {"Retry-After": "5"}
                raise Problem(503, "Too many uploads of yours are on their way.", kind="busy", headers=headers)
            case refusal:
                raise RuntimeError(f"a reservation was refused: {refusal}")

    def _recount(self, owner: str) -> None:
        """Put the account right, if nothing is on its way that it does not know of."""
        now = time.time()
        session = sessions.current()
        counters = dict(session.counters)
        if now - counters.get("recounted", 0) < RECOUNT_SECONDS:
            return
        leases = {name: float(session[name]) for name in list(session) if name.startswith(LEASE)}
        if any(until > now for until in leases.values()):
            return
        files = size = 0
        token = None
        while True:
            page = self._storage.list(f"visitors/{owner}/", page_token=token, limit=1000)
            files += len(page.objects)
            size += sum(info.size for info in page.objects)
            token = page.next_token
            if token is None:
                break
        seen = {name: counters.get(name, 0) for name in ("files", "bytes")}
        put = {"files": files, "bytes": size, "recounted": int(now)}
        session.step(Change(put=put, delete=frozenset(leases), expect=seen))

    def _full(self) -> Problem:
        files, size = self._limits["files"], self._limits["bytes"]
        return Problem(507, f"You may keep {files} files and {size} bytes. Delete some first.", kind="quota")
