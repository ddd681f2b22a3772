"""A visitor's quotas: how many files, how many bytes. They hold however many uploads race.

The session keeps the account: the counters ``files`` and ``bytes`` are raised in one atomic step *before* an upload
begins (the store refuses that step over the limit), and lowered again if the upload fails. Each reservation has a
lease: when the account is full and every lease has expired, a killed process has left reservations behind, so the files
are counted and the account is corrected. Where it is not known whether an upload was stored, its reservation is left
behind in the same way. Why so: docs/decisions/0005-quota-in-the-session.md.
"""

import json
import logging
import secrets
import time
from collections.abc import Iterator, Mapping

from service import sessions
from service.http.errors import Problem
from service.sample.settings import SampleSettings
from service.sessions.interface import SessionGone
from service.sessions.store import Applied, Change, Refusal, StoreUnavailable
from service.storage.store import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

LEASE = "lease:"
LEASE_SECONDS = 6 * 3600.0  # longer than any upload takes
RECOUNT_SECONDS = 30  # the least time between two counts
GROWTH = 8 * 2**20  # bytes; a body of unknown length reserves them in such steps
RELEASES_KEPT = 16  # of so many files that were deleted last, the session keeps the generations


def owner_of_files() -> str:
    """The owner of the visitor's files: 128 random bits in hex, set once in a session however many first uploads race.

    Begins a session if there is none. Raises a 413 Problem if the session has no room for it, and SessionGone.
    """
    session = sessions.current()
    if "owner" not in session:
        value = json.dumps(secrets.token_hex(16)).encode()
        change = Change(set={"owner": value}, put={"owned": 1}, expect={"owned": 0}, create=True)
        if session.step(change) is Refusal.TOO_LARGE:
            detail = "The session has no room left for files. Sign out to begin a new session."
            raise Problem(413, detail, kind="session-too-large")
        session.refresh()  # another request may have been the first
        if "owner" not in session:
            raise SessionGone(moved=False)
    return str(session["owner"])


class Reservation:
    """Room for one upload. ``settle()`` ends it: the account keeps what was stored, and gets back the rest."""

    def __init__(self, quota: "Quota", lease: str, files: int, reserved: int) -> None:
        self._quota, self._lease = quota, lease
        self._files, self._bytes = files, reserved

    def grow_with(self, body: Iterator[bytes], old_size: int) -> Iterator[bytes]:
        """``body``, with more reserved as it comes, but for the ``old_size`` bytes of the file that it replaces.

        Raises a 507 Problem when there is no more room.
        """
        added = -old_size
        for chunk in body:
            added += len(chunk)
            if added > self._bytes:
                self._bytes += self._quota.grow(self._lease, added - self._bytes)
            yield chunk

    def confirmed(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """``body``. SessionGone is raised before its end if the session has been ended or has got another id.

        So the store keeps nothing for a visitor who has signed out, or for a client with an id from before a sign-in.
        """
        yield from body
        sessions.current().step(Change())

    def settle(self, *, files: int, size: int, maybe_twice: bool = False) -> None:
        """The upload is over: it changed the visitor's files by ``files`` and their bytes by ``size``.

        ``maybe_twice`` (ObjectInfo): another request may have taken this file off the account already, so the
        reservation stays as well, until its lease has ended.
        """
        if maybe_twice:
            sessions.current().step(Change(add={"files": files, "bytes": size}))
            return
        add = {"files": files - self._files, "bytes": size - self._bytes}
        sessions.current().step(Change(add=add, delete=frozenset({self._lease})))

    def give_back(self) -> None:
        """The upload failed. Raises nothing, so that its own error is reported; the lease corrects the account."""
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
        """Room for an upload that adds ``files`` (0 or 1) and ``size`` bytes (0 if unknown, or if the file shrinks).

        Raises a 507 Problem if there is none.
        """
        lease = LEASE + secrets.token_urlsafe(6)
        if not self._try(lease, files, size):
            self._recount(owner)
            if not self._try(lease, files, size):
                raise self._full()
        return Reservation(self, lease, files, size)

    def grow(self, lease: str, needed: int) -> int:
        """Reserve more: a large step if there is room for it, else the bytes ``needed``. How many they were.

        Raises a 507 Problem.
        """
        for size in (max(GROWTH, needed), needed):
            if self._try(lease, 0, size):
                return size
        raise self._full()

    def release(self, info: ObjectInfo) -> None:
        """A file was deleted: take it off the account, once.

        Two requests may both have deleted the same one, as far as they can know: a response of the object store was
        lost. So the session keeps the last generations, and the counter ``releases`` shows a request what came between.
        """
        session = sessions.current()
        before = session.counters.get("releases", 0)
        while True:
            done = session.counters.get("releases", 0)
            released = str(session.get("released", "")).split()  # as it is written below
            if done - before > RELEASES_KEPT or (done > before and str(info.generation) in released):
                return
            released = [*released, str(info.generation)][-RELEASES_KEPT:]
            change = Change(
                set={"released": json.dumps(" ".join(released)).encode()},
                add={"files": -1, "bytes": -info.size, "releases": 1},
                expect={"releases": done},
            )
            outcome = session.step(change)
            if outcome is not Refusal.CONFLICT:
                if not isinstance(outcome, Applied):
                    log.warning("a deleted file is still in the account: %s", outcome.value)
                return
            session.refresh()

    def usage(self, counters: Mapping[str, int]) -> dict[str, int]:
        """The account and its limits, for the visitor."""
        used = {name: counters.get(name, 0) for name in self._limits}
        return used | {f"max_{name}": limit for name, limit in self._limits.items()}

    def _try(self, lease: str, files: int, size: int) -> bool:
        values = {lease: json.dumps(int(time.time() + LEASE_SECONDS)).encode()}
        change = Change(set=values, add={"files": files, "bytes": size}, at_most=self._limits, create=True)
        match sessions.current().step(change):
            case Applied():
                return True
            case Refusal.OVER_LIMIT:
                return False
            case Refusal.TOO_LARGE:
                detail = "You have too many uploads at once. Try again when some of them have ended."
                raise Problem(503, detail, kind="busy", headers={"Retry-After": "5"})
            case refusal:
                raise RuntimeError(f"a reservation was refused: {refusal}")

    def _recount(self, owner: str) -> None:
        """Correct the account, if no upload is on its way."""
        now = time.time()
        session = sessions.current()
        counters = dict(session.counters)
        if now - counters.get("recounted", 0) < RECOUNT_SECONDS:
            return
        leases = [name for name in session if name.startswith(LEASE)]
        if any(session[name] > now for name in leases):
            return
        sizes: list[int] = []
        token = None
        while True:
            page = self._storage.list(f"visitors/{owner}/", page_token=token, limit=1000)
            sizes += [info.size for info in page.objects]
            token = page.next_token
            if token is None:
                break
        seen = {name: counters.get(name, 0) for name in self._limits}
        put = {"files": len(sizes), "bytes": sum(sizes), "recounted": int(now)}
        session.step(Change(put=put, delete=frozenset(leases), expect=seen))

    def _full(self) -> Problem:
        files, size = self._limits["files"], self._limits["bytes"]
        detail = f"You may keep at most {files} files and {size} bytes. Delete files to make room."
        return Problem(507, detail, kind="quota")
