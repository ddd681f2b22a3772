"""k8s/examples: a low port by a safe sysctl, an owner by one capability; and both without what makes them work."""

import contextlib

import pytest

from tests.e2e.cluster.kubectl import KubectlError
from tests.e2e.cluster.overlay import PROJECT, Copy, Images, deployed

pytestmark = pytest.mark.timeout(600)

EXAMPLES = tuple(str(PROJECT / "k8s" / "examples" / name) for name in ("low-port", "volume-owner"))
SYSCTL = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def test_they_work(images: Images) -> None:
    with deployed(images, *EXAMPLES) as copy:
        pod = copy.kubectl.pods("seatrial")[0]["metadata"]["name"]
        assert copy.kubectl.exec(pod, "cat", SYSCTL).strip() == "80"
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:80/health').status)"
        assert copy.kubectl.exec(pod, "python", "-c", ask).strip() == "200"
        assert copy.kubectl.exec(pod, "id", "-u").strip() == "10001"
        assert copy.kubectl.exec("redis-0", "stat", "-c", "%u", "/data", container="redis").strip() == "10004"
        status = copy.kubectl.exec("redis-0", "cat", "/proc/1/status", container="redis")
        assert "CapBnd:\t0000000000000000" in status


def test_the_twins_do_not(images: Images) -> None:
    with deployed(
        images, *EXAMPLES, "low-port-without-sysctl", "volume-owner-without-capability", settled=False
    ) as twin:
        for name, container, words in (
            ("redis", "volume-owner", "not permitted"),
            ("seatrial", "seatrial", "PORT: can't listen on 0.0.0.0 port 80: Permission denied"),
        ):
            twin.kubectl.until(f"{words!r} of {container}", lambda: words in said(twin, name, container))  # noqa: B023 -- called at once


def said(twin: Copy, name: str, container: str) -> str:
    """What a container of the first pod of a name said, in its life before this one too; "" where it has not begun."""
    words = ""
    for pod in twin.kubectl.pods(name)[:1]:
        for more in ("--previous", "--tail=50"):
            with contextlib.suppress(KubectlError):
                words += twin.kubectl("logs", pod["metadata"]["name"], f"--container={container}", more)
    return words
