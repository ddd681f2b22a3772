"""The overlay on an empty namespace: it serves, and the conformance suite finds every practice kept."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.rows import BESIDE, ROWS
from tests.e2e.cluster.conformance import cluster_options, conform, instances
from tests.e2e.cluster.generator import load
from tests.e2e.cluster.overlay import Copy, Images, deployed
from tests.support.practices import proved_by

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def copy(images: Images) -> Iterator[Copy]:
    """Its cookies are Secure, as behind a load balancer; the suite looks at them."""
    with deployed(images, tomcat=True, COOKIE_SECURE="true") as ours:
        yield ours


def test_it_serves_sessions_and_files_through_the_service(images: Images) -> None:
    with deployed(images) as plain, load(plain.kubectl, images.service) as visitors:
        report = visitors.end()
    assert {name: report.failed(name) for name in report.phases} == dict.fromkeys(report.phases, 0), report.examples()
    assert report.promises["visits"] > 0
    assert report.promises["files"] > 0


def test_every_practice_is_kept(copy: Copy, tmp_path: Path) -> None:
    with instances(copy, tmp_path) as options:
        run = conform(options, tmp_path / "report.json")
    print(f"\n{run.table}")
    assert run.rows("broken") == set(), run.table
    assert run.rows("ok") == set(ROWS) - set(BESIDE)  # those are shown in test_tomcat.py
    assert run.rows("ok") | set(BESIDE) == proved_by("make test-cluster")


def test_the_twin_is_red_in_each_row_that_a_cluster_shows(images: Images, tmp_path: Path) -> None:
    """Everything wrong at once, in a namespace that lets it in."""
    with deployed(images, "everything-wrong", settled=False) as twin:
        twin.kubectl.rolled_out("deployment/prometheus")
        twin.kubectl.wait("pod/unowned", "condition=Ready")
        twin.kubectl.until("the pods of the service", lambda: len(twin.kubectl.pods("seatrial")) == 2)
        # The suite wants an address where somebody listens; these rows ask the cluster alone.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            options = [f"--base-url=http://127.0.0.1:{listener.getsockname()[1]}", *cluster_options(twin)]
            run = conform(options, tmp_path / "report.json", "--only=2c,3a,3b,3c,4c,6b,7")
    print(f"\n{run.table}")
    assert run.rows("broken") == {"2c", "3a", "3b", "3c", "4c", "6b", "7"}, run.table
