"""Constant load from inside the cluster through all that happens to a deployment: nothing fails, nothing is lost.

Visitors retry nothing, with one exception that is counted: a container that is killed takes the connections with it
that were open to it, and is sent new ones until the node has noticed. Then they try again for up to three seconds, as
load balancers and browsers do. While Redis has no pod, what needs a session is answered 503 with
Retry-After; that is counted by itself, too, and is allowed only there.

RUNS=20 goes through it so often.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.cluster import events
from tests.e2e.cluster.generator import Load, Report, load
from tests.e2e.cluster.kubectl import nodes
from tests.e2e.cluster.overlay import Copy, Images, deployed

RUNS = int(os.environ.get("RUNS", "1"))
pytestmark = pytest.mark.timeout(900 + 400 * RUNS)


@pytest.fixture(autouse=True)
def schedulable() -> Iterator[None]:
    yield
    events.all_uncordoned()


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_nothing_fails_and_nothing_is_lost(copy: Copy, images: Images, run: int) -> None:
    old = copy.running()
    redis_node = copy.kubectl.get("pod", "redis-0")["spec"]["nodeName"]
    with load(copy.kubectl, images.service, node=redis_node) as visitors:
        ours(copy, visitors, redis_node)
        report = visitors.end()
    print(f"\nrun {run} of {RUNS}\n{report.table}")
    assert {name: report.failed(name) for name in report.phases} == dict.fromkeys(report.phases, 0), report.examples()
    assert _lost(report) == {}
    away = {name: phase["why"] for name, phase in report.phases.items() if phase["away"]}
    assert away.keys() <= {*REDIS_IS_AWAY, "end"}, {
        name: why for name, why in away.items() if name not in REDIS_IS_AWAY
    }
    assert report.phases["redis deleted"]["away"] > 0  # or nobody asked
    assert copy.running() == old


REDIS_IS_AWAY = ("redis deleted", "node of redis drained")


def ours(copy: Copy, visitors: Load, redis_node: str) -> None:
    """Everything, one after the other."""
    part = _parts(visitors)
    old = copy.running()
    part("all is well", lambda: None)
    part("new image", lambda: events.roll_out(copy, copy.images.next))
    assert copy.running() == {copy.images.next.rpartition("@")[2]} != old
    part("rolled back", lambda: events.roll_back(copy))
    assert copy.running() == old
    part("scaled up", lambda: events.scale(copy, 4))
    part("scaled down", lambda: events.scale(copy, 2))
    part("pod deleted", lambda: events.delete_pod(copy, copy.kubectl.pods("seatrial")[0]))
    if os.environ.get("NODE_STOP"):
        other = next(node for node in nodes() if node != redis_node)
        try:
            part("kubelet lost", lambda: events.lose_kubelet(copy, other))
        finally:
            part("kubelet back", lambda: events.find_kubelet(copy, other))
    for node in nodes():
        name = "node of redis drained" if node == redis_node else "other node drained"
        part(name, lambda node=node: events.drain(copy, node))
        part(name, lambda node=node: events.uncordon(copy, node))
    if os.environ.get("KILL_CONTAINER"):
        victim = copy.kubectl.pods("seatrial")[0]
        part("container killed", lambda: events.kill_container(copy, victim), retries=5)
    part("redis deleted", lambda: events.delete_redis(copy))


def test_the_twin_that_ends_without_a_word_loses_requests(images: Images) -> None:
    """No SHUTDOWN_DELAY, no readiness. It may be lucky for once, but not each time that all pods go."""
    with deployed(images, "no-drain") as twin, load(twin.kubectl, images.service, think=0.03) as visitors:
        part = _parts(visitors)
        part("new image", lambda: events.roll_out(twin, images.next))
        part("rolled back", lambda: events.roll_back(twin))
        part("scaled up", lambda: events.scale(twin, 4))
        part("scaled down", lambda: events.scale(twin, 2))
        part("pod deleted", lambda: events.delete_pod(twin, twin.kubectl.pods("seatrial")[0]))
        if os.environ.get("KILL_CONTAINER"):  # and visitors who try nothing again
            part("container killed", lambda: events.kill_container(twin, twin.kubectl.pods("seatrial")[0]))
        for node in nodes():
            part("nodes drained", lambda node=node: events.drain(twin, node))
            part("uncordoned", lambda node=node: events.uncordon(twin, node))
        report = visitors.end()
    print(f"\n{report.table}\n{report.examples()}")
    hurt = {name for name in report.phases if report.failed(name)}
    assert hurt & {"new image", "rolled back", "nodes drained"}
    assert hurt >= {"container killed"} & report.phases.keys()
    assert "start" not in hurt


def test_the_twin_with_redis_on_an_empty_dir_loses_visits_and_files(images: Images) -> None:
    with deployed(images, "redis-on-an-empty-dir") as twin, load(twin.kubectl, images.service) as visitors:
        part = _parts(visitors)
        part("redis deleted", lambda: events.delete_redis(twin))
        report = visitors.end()
    print(f"\n{report.table}\n{report.examples()}")
    assert set(_lost(report)) == {"visits_lost", "files_lost"}


def _parts(visitors: Load) -> Callable[..., None]:
    def part(name: str, happen: Callable[[], None], *, retries: int = 0) -> None:
        visitors.part(name, retries=retries)
        happen()
        visitors.go_on()

    return part


def _lost(report: Report) -> dict[str, int]:
    """What was promised and not kept."""
    kept = ("visits", "files")
    return {name: number for name, number in report.promises.items() if name not in kept and number}
