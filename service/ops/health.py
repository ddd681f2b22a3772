"""Liveness, readiness, and what is known of the dependencies.

Liveness fails only where a restart helps, and never asks a dependency. Readiness means: started, not draining, room for
a request; a dependency counts only if ``READY_REQUIRES`` names it. The results come from memory: no probe waits for a
dependency. Bodies are ``application/health+json`` (draft-inadarei-api-health-check-06).
"""

import json
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from service.lifecycle import Lifecycle
from service.logs.redaction import redact
from service.ops.in_flight import InFlight
from service.settings import Settings

log = logging.getLogger(__name__)

IN_A_ROW = 2  # checks in a row that must agree before a dependency's state changes
SECOND_LOOK = 0.25  # seconds until the next check, after one that contradicts the state
WATCHED = 0.5  # seconds at least between two checks while people look at the status
NO_ROOM_AFTER = 2.0  # seconds without a free thread; shorter peaks are absorbed by the queue

OnChange = Callable[[str, bool], None]


class HealthCheck(NamedTuple):
    """How a dependency is asked whether it can serve."""

    check: Callable[[], None]  # raises if it can't
    kind: str  # health+json's componentType: "datastore", "system" or "component"


class DependencyMonitor:
    """The state of one dependency, checked in a thread of its own; never twice at once."""

    def __init__(self, name: str, check: HealthCheck, interval: float, on_change: OnChange) -> None:
        self.name = name
        self.up: bool | None = None  # None: never checked
        self._check, self._kind = check
        self._interval, self._on_change = interval, on_change
        self._since = self._seen = _now()
        self._error = ""
        self._seconds = 0.0
        self._looked = time.monotonic()
        self._dissent = 0  # checks in a row that contradict ``up``
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"check-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def check_now(self) -> None:
        """Do not wait for the interval's end. A check that runs goes first."""
        self._wake.set()

    def watched(self) -> None:
        """A person looks at the status: check now, but at most every WATCHED seconds."""
        if time.monotonic() - self._looked > WATCHED:
            self._wake.set()

    def report(self) -> dict[str, Any]:
        """Its entry among the checks of ``/ready``; "warn" where it was never checked."""
        status = "warn" if self.up is None else "pass" if self.up else "fail"
        entry: dict[str, Any] = {
            "componentType": self._kind,
            "status": status,
            "since": self._since,
            "time": self._seen,
            "observedValue": round(self._seconds * 1000, 1),
            "observedUnit": "ms",
        }
        return entry | ({"output": self._error} if self._error else {})

    def _run(self) -> None:
        while not self._stopped:
            self._look()
            wait = SECOND_LOOK if self._dissent else self._interval
            self._wake.wait(random.uniform(0.9, 1.1) * min(wait, self._interval))  # noqa: S311 -- only spreads the load
            self._wake.clear()

    def _look(self) -> None:
        started = time.monotonic()
        self._looked = math.inf  # no other check is needed while this one runs
        error = ""
        try:
            self._check()
        except Exception as problem:  # noqa: BLE001 -- after any error, the dependency can't serve
            error = redact(f"{problem}") or type(problem).__name__
        self._seconds = time.monotonic() - started
        self._seen, self._looked = _now(), time.monotonic()
        up, before = not error, self.up
        self._dissent = 0 if up == before else self._dissent + 1
        if before is not None and 0 < self._dissent < IN_A_ROW:
            return
        self.up, self._error, self._dissent = up, error, 0
        if up == before:
            return
        self._since = self._seen
        if not up:
            log.error("%s can't serve: %s", self.name, error)
        elif before is False:
            log.warning("%s can serve again", self.name)
        self._on_change(self.name, up)


class Health:
    """Liveness and readiness, and the background checks of dependencies."""

    content_type = "application/health+json"

    def __init__(
        self,
        settings: Settings,
        in_flight: InFlight,
        lifecycle: Lifecycle,
        dependencies: Mapping[str, HealthCheck],
        *,
        on_change: OnChange = lambda _name, _up: None,
    ) -> None:
        """``dependencies``, by name. ``on_change`` is called with a dependency's name and state at every change.

        ValueError if READY_REQUIRES names a dependency that is not among them.
        """
        if unknown := set(settings.ready_requires) - dependencies.keys():
            raise ValueError(f"READY_REQUIRES names unknown dependencies: {', '.join(sorted(unknown))}")
        self._settings = settings
        self._in_flight = in_flight
        self._lifecycle = lifecycle
        interval = settings.dependency_check_interval
        self._dependencies = {
            name: DependencyMonitor(name, check, interval, on_change) for name, check in dependencies.items()
        }
        self._started = False

    def start(self) -> None:
        """Requests can be taken from now on; the dependencies are checked in the background."""
        self._started = True
        for dependency in self._dependencies.values():
            dependency.start()

    def stop(self) -> None:
        """No more checks are begun."""
        for dependency in self._dependencies.values():
            dependency.stop()

    def observe(self, name: str, error: Exception | None) -> None:
        """A call to a dependency succeeded, or failed. That changes nothing by itself, but if it is news, check now."""
        dependency = self._dependencies[name]
        if dependency.up != (error is None):
            dependency.check_now()

    def live(self) -> tuple[int, bytes]:
        """Status (200 or 503) and body. Fails when every request thread has been without progress for too long."""
        verdict = _verdict(self._stuck())
        return (200 if verdict["status"] == "pass" else 503), self._body(**verdict)

    def ready(self, *, full: bool) -> tuple[int, bytes]:
        """Status (200 or 503) and body; with ``full``, the check of each dependency."""
        reason = self._not_ready()
        status = "fail" if reason else "pass"
        more: dict[str, Any] = {"output": reason} if reason else {}
        if full:
            reports = {name: d.report() for name, d in self._dependencies.items()}
            if status == "pass" and any(report["status"] == "fail" for report in reports.values()):
                status = "warn"
            more["checks"] = {f"{name}:availability": [report] for name, report in reports.items()}
        return (503 if reason else 200), self._body(status, **more)

    def summary(self) -> dict[str, Any]:
        """What visitors may know: liveness, readiness, and each dependency's ``status`` and ``since``, but no error.

        It comes from memory, but the next check comes sooner.
        """
        public = {}
        for name, dependency in self._dependencies.items():
            dependency.watched()
            report = dependency.report()
            public[name] = {"status": report["status"], "since": report["since"]}
        return {"live": _verdict(self._stuck()), "ready": _verdict(self._not_ready()), "dependencies": public}

    def _stuck(self) -> str:
        seconds = self._in_flight.stuck_for()
        is_stuck = seconds > self._settings.stuck_after
        return f"no request thread has made progress for {seconds:.0f} s" if is_stuck else ""

    def _not_ready(self) -> str:
        if self._lifecycle.draining:
            return "shutting down"
        if not self._started:
            return "starting"
        if self._in_flight.saturated_for() > NO_ROOM_AFTER:
            return "every request thread is busy"
        down = [name for name in self._settings.ready_requires if not self._dependencies[name].up]
        return f"not available: {', '.join(down)}" if down else ""

    def _body(self, status: str, **more: Any) -> bytes:
        document = {"status": status, "version": self._settings.version, "releaseId": self._settings.revision}
        return json.dumps(document | more).encode()


def _verdict(reason: str) -> dict[str, str]:
    return {"status": "fail", "output": reason} if reason else {"status": "pass"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
