"""What disturbs the service: each trial is run once, and what it saw is judged by several rows."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from conformance.http import Client, NoResponse
from conformance.kept import Kept
from conformance.target import Background, Instance, Target, ask

STEADY = 1.0  # seconds without a failure until it is back: each of its processes finds that out for itself
RECOVERY = 30.0  # seconds that a service has to see that its store is back


# Every instance is killed in turn


@dataclass
class Kills:
    """After each kill, of ``visits`` and what was ``kept``: through whom it was asked and what was wrong, or ""."""

    visits: list[tuple[str, str]] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    unseen: int = 0  # kills after which the address never stopped responding


def kills(target: Target) -> Kills:
    """Kill every instance in turn, as one visitor who counts visits and keeps something."""
    found = Kills()
    kept = target.kept("kept-through-kills.txt")
    with target.visitor() as client:
        count = target.visit(client) if target.paths.visits else 0
        for each in kept:
            each.store(client)
        for instance in target.instances:
            target.progress(f"killing instance {instance.number}")
            found.unseen += not target.kill(instance)
            other = target.instances[instance.number % len(target.instances)]
            if other is instance:
                target.start(instance)
            client.at(other.base)
            via = f"{other.base} after {instance.base} was killed"
            if target.paths.visits:
                count += 1
                found.visits.append((via, _visit(target, client, count)))
            found.kept += [(f"the {each.what} through {via}", each.read_back(client)) for each in kept]
            if other is not instance:
                target.start(instance)
    return found


def _visit(target: Target, client: Client, expected: int) -> str:
    try:
        count = target.visit(client)
    except NoResponse as error:
        return str(error)
    return "" if count == expected else f"visit {expected} was counted as {count}"


# The session store goes away and comes back


@dataclass
class Outage:
    """``unhealthy``: what liveness said other than 200. ``recovered_after``: seconds; None where it did not."""

    unhealthy: list[str]
    asked: int
    recovered_after: float | None
    last_words: str
    visits: tuple[int, int] = (0, 0)  # the last before the store was stopped, the first after; of one visitor


def outage(target: Target) -> Outage:
    """Stop the session store, ask for liveness all the while, and start it again."""
    with Client(target.instances[0].base) as visitor:
        before = target.visit(visitor) if target.paths.visits else 0
        found = _outage(target)
        after = target.visit(visitor) if target.paths.visits and found.recovered_after is not None else 0
    found.visits = (before, after)
    return found


def _outage(target: Target) -> Outage:
    unhealthy: list[str] = []
    asked = 0
    target.progress(f"stopping the session store for {target.limits.outage:g} s")
    target.store(up=False)
    try:
        end = time.monotonic() + target.limits.outage
        while time.monotonic() < end:
            for instance in target.instances:
                asked += 1
                unhealthy += _unhealthy(target, instance)
            if target.paths.visits:  # traffic goes on: it is what makes a liveness that looks at the store fail
                _quietly(target)
            time.sleep(0.1)
    finally:
        target.store(up=True)
    target.progress("waiting until sessions work again")
    started = time.monotonic()
    last_words, well_since = "", started
    while (now := time.monotonic()) - started < RECOVERY:
        wrong = _recovery(target)
        if wrong:
            last_words, well_since = wrong, now + 0.1
        elif now - well_since > STEADY:
            return Outage(unhealthy, asked, well_since - started, "")
        time.sleep(0.05)
    return Outage(unhealthy, asked, None, last_words)


def _unhealthy(target: Target, instance: Instance) -> list[str]:
    try:
        response = ask(instance.platform, target.paths.health or "/", seconds=5)
    except NoResponse as error:
        return [str(error)]
    return [] if response.status == 200 else [f"{instance.platform}{target.paths.health}: {response.status}"]


def _quietly(target: Target) -> None:
    with Client(target.instances[0].base, seconds=5) as client:
        try:
            target.visit(client)
        except NoResponse:
            return


def _recovery(target: Target) -> str:
    for instance in target.instances:
        with Client(instance.base, seconds=5) as client:
            try:
                if target.paths.visits:
                    target.visit(client)
            except NoResponse as error:
                return str(error)
    return ""


# One instance is ended under load, as the platform ends it


@dataclass
class Stop:
    """Seconds count from the stop command.

    ``failed``: requests that failed while the platform may still send some. ``said_no``: when readiness first said
    something other than 200; ``said_yes``: when it last said 200. ``ended_after``: None where it did not end.
    """

    requests: int = 0
    failed: list[str] = field(default_factory=list)
    said_no: float | None = None
    said_yes: float = 0.0
    closed: bool = False  # whether it took no more connections when those in flight went on
    in_flight: dict[str, str] = field(default_factory=dict)  # what was being stored, and what went wrong, or ""
    ended_after: float | None = None


def stop(target: Target) -> Stop:
    """End the first instance under load; it is started again."""
    instance = target.instances[0]
    found = Stop()
    notice = target.limits.notice
    kept = target.kept("in-flight.txt")
    begun, second_half = threading.Semaphore(0), threading.Event()
    since: list[float] = []  # when the stop began, once it has

    def now() -> float:
        return time.monotonic() - since[0] if since else 0.0

    def load(*, keep_alive: bool, work: Background) -> None:
        with Client(instance.base) as client:
            while not work.done.is_set():
                at = now()
                try:
                    status = _ask_something(target, client)
                    failure = f"status {status}" if status >= 500 else ""
                except NoResponse as error:
                    failure = str(error)
                found.requests += 1
                if failure:
                    found.failed.append(f"{at:.1f} s after the stop: {failure}")
                    time.sleep(0.2)
                if not keep_alive:
                    client.close()
                work.done.wait(0.02)

    def halves(content: bytes) -> Iterator[bytes]:
        half = len(content) // 2
        yield content[:half]
        begun.release()
        second_half.wait(notice + target.limits.grace)
        yield content[half:]

    def store_slowly(each: Kept) -> None:
        found.in_flight[each.what] = "it never began"
        with target.visitor(seconds=notice + target.limits.grace + 10) as client:
            try:
                each.store(client, halves(each.call.body))
                found.in_flight[each.what] = ""
            except NoResponse as error:
                found.in_flight[each.what] = str(error)

    def watch(work: Background) -> None:
        while not work.done.is_set():
            try:
                said_yes = ask(instance.platform, target.paths.ready or "/", seconds=2).status == 200
            except NoResponse:
                said_yes = True  # silence says nothing
            else:
                if said_yes:
                    found.said_yes = now()
            if not said_yes and found.said_no is None and since:
                found.said_no = now()
            work.done.wait(0.03)

    target.progress(f"stopping instance {instance.number} under load")
    with Background() as watching, Background() as loading, Background() as storing:
        if target.paths.ready:
            watching.start(lambda: watch(watching))
        for keep_alive in (True, True, False):
            loading.start(lambda k=keep_alive: load(keep_alive=k, work=loading))  # type: ignore[misc] # bound now
        for each in kept:
            storing.start(lambda e=each: store_slowly(e))  # type: ignore[misc] # bound now
            begun.acquire(timeout=10)
        target.wait_until(lambda: found.requests > 10, 10)
        since.append(time.monotonic())
        command = target.stop(instance)
        try:
            loading.done.wait(notice)
            loading.join()
            command.check()
            # While the listener is open nothing is ended yet: any service would respond.
            found.closed = target.wait_until(lambda: target.is_gone(instance), target.limits.grace / 2)
        finally:
            second_half.set()
        storing.join()
        if target.wait_until(lambda: target.is_gone(instance), target.limits.grace):
            found.ended_after = now()
        watching.join()
    if found.ended_after is None and target.commands.kill:
        target.kill(instance)
    # Its listeners may be gone before it is: a command that waits for the end says when it may be started again.
    command.end(target.limits.grace)
    target.start(instance)
    return found


def _ask_something(target: Target, client: Client) -> int:
    """What needs no store, so that only the stop can make it fail."""
    return client.get(target.paths.home).status
