"""Redis's claim: what was written outlives its pod, and is written without root."""

import pytest

from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.overlay import Copy, Images, deployed

pytestmark = pytest.mark.timeout(600)


def redis(kubectl: Kubectl, *command: str) -> str:
    """What redis-cli says, with the password of its own pod."""
    words = " ".join(command)
    script = f'REDISCLI_AUTH="$(cat /run/secrets/service/SESSION_PASSWORD)" redis-cli {words}'
    return kubectl.exec("redis-0", "sh", "-c", script, container="redis").strip()


def test_what_redis_keeps_outlives_its_pod(copy: Copy) -> None:
    before = copy.kubectl.get("pod", "redis-0")["metadata"]["uid"]
    assert redis(copy.kubectl, "set", "kept", "through") == "OK"
    copy.kubectl("delete", "pod", "redis-0")
    copy.kubectl.rolled_out("statefulset/redis")
    assert copy.kubectl.get("pod", "redis-0")["metadata"]["uid"] != before
    assert redis(copy.kubectl, "get", "kept") == "through"
    assert copy.kubectl.exec("redis-0", "id", "-u", container="redis").strip() == "10004"


def test_the_twin_on_an_empty_dir_forgets(images: Images) -> None:
    with deployed(images, "redis-on-an-empty-dir") as twin:
        redis(twin.kubectl, "set", "kept", "through")
        twin.kubectl("delete", "pod", "redis-0")
        twin.kubectl.rolled_out("statefulset/redis")
        assert redis(twin.kubectl, "get", "kept") == ""


def test_the_twin_without_fs_group_may_not_write(images: Images) -> None:
    with deployed(images, "redis-without-fs-group", settled=False) as twin:
        twin.kubectl.until("an end of redis's, or its readiness", lambda: _ended(twin) or _ready(twin))
        if _ready(twin):
            pytest.skip("not shown: this cluster's volumes are open to everybody")
        said = "".join(
            twin.kubectl("logs", "redis-0", "--container=redis", more) for more in ("--tail=50", "--previous")
        )
    assert "Permission denied" in said, said


def _status(twin: Copy) -> dict[str, object]:
    statuses: list[dict[str, object]] = twin.kubectl.get("pod", "redis-0")["status"].get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == "redis"), {})


def _ended(twin: Copy) -> bool:
    status = _status(twin)
    return "terminated" in str(status.get("lastState"))


def _ready(twin: Copy) -> bool:
    return bool(_status(twin).get("ready"))
