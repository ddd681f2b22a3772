"""A version that is not good does not take over: under load nobody notices it, and it is rolled back."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster.generator import Load, load
from tests.e2e.cluster.kubectl import KubectlError
from tests.e2e.cluster.overlay import Copy, Images, deployed

pytestmark = pytest.mark.timeout(600)

NEVER_READY = {
    "READY_REQUIRES": "storage",
    "STORAGE_EMULATOR_HOST": "http://nowhere.invalid:1",
    "STORAGE_TIMEOUT": "1s",
}
CRASHES = {"THREADS": "many"}


@pytest.fixture(scope="module")
def copy(images: Images) -> Iterator[Copy]:
    with deployed(images, "short-deadline") as ours:
        yield ours


@pytest.fixture
def visitors(copy: Copy, images: Images) -> Iterator[Load]:
    with load(copy.kubectl, images.service) as found:
        yield found


def test_a_version_that_never_gets_ready_does_not_take_over(copy: Copy, visitors: Load) -> None:
    before = ready(copy)
    copy.change(**NEVER_READY)
    assert "exceeded its progress deadline" in failed_rollout(copy)
    visitors.go_on()
    assert ready(copy) == before
    roll_back(copy)
    assert ready(copy) == before
    nothing_failed(visitors)


def test_a_version_that_crashes_is_seen_and_rolled_back(copy: Copy, visitors: Load) -> None:
    before = ready(copy)
    copy.change(**CRASHES)
    assert "exceeded its progress deadline" in failed_rollout(copy)
    [new] = [pod for pod in copy.kubectl.pods("seatrial") if pod["metadata"]["name"] not in before]
    [status] = new["status"]["containerStatuses"]
    ends = [status[state]["terminated"] for state in ("state", "lastState") if "terminated" in status.get(state, {})]
    assert {end["exitCode"] for end in ends} == {2}
    assert status["restartCount"] > 0
    said = copy.kubectl("logs", new["metadata"]["name"])
    assert "THREADS" in said
    visitors.go_on()
    roll_back(copy)
    assert ready(copy) == before
    nothing_failed(visitors)


def test_the_twin_without_readiness_is_taken_over(images: Images) -> None:
    with deployed(images, "no-drain", "short-deadline") as twin:
        before = ready(twin)
        twin.change(**NEVER_READY)
        twin.settle()
        assert not ready(twin) & before


def ready(copy: Copy) -> set[str]:
    """The pods that the Service sends requests to."""
    selector = "kubernetes.io/service-name=seatrial"
    slices: list[dict[str, Any]] = copy.kubectl.get("endpointslices", "--selector", selector)
    endpoints = [endpoint for each in slices for endpoint in each["endpoints"]]
    return {endpoint["targetRef"]["name"] for endpoint in endpoints if endpoint["conditions"]["ready"]}


def failed_rollout(copy: Copy) -> str:
    with pytest.raises(KubectlError) as caught:
        copy.kubectl.rolled_out("deployment/seatrial")
    return str(caught.value)


def roll_back(copy: Copy) -> None:
    copy.kubectl("rollout", "undo", "deployment/seatrial")
    copy.settle()


def nothing_failed(visitors: Load) -> None:
    report = visitors.end()
    print(f"\n{report.table}")
    assert {name: report.failed(name) for name in report.phases} == dict.fromkeys(report.phases, 0), report.examples()
    assert report.promises["visits_lost"] == report.promises["files_lost"] == 0
