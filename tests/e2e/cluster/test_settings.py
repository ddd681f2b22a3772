"""Settings and secrets: a change rolls the pods, a rollback finds the old ones, and nobody is shown a secret."""

import base64

import pytest

from tests.e2e.cluster.overlay import Copy, Images, deployed

pytestmark = pytest.mark.timeout(600)

FILE = "/run/secrets/service/SESSION_PASSWORD"


def pods_and_levels(copy: Copy) -> dict[str, str]:
    """The log level that each pod was started with."""
    names = [pod["metadata"]["name"] for pod in copy.kubectl.pods("seatrial")]
    return {name: copy.kubectl.exec(name, "printenv", "LOG_LEVEL").strip() for name in names}


def test_a_changed_setting_rolls_the_pods_and_a_rollback_finds_the_old_one(images: Images) -> None:
    with deployed(images, LOG_LEVEL="INFO") as copy:
        before = pods_and_levels(copy)
        copy.change(LOG_LEVEL="WARNING")
        copy.settle()
        after = pods_and_levels(copy)
        assert set(before.values()) == {"INFO"}
        assert set(after.values()) == {"WARNING"}
        assert not before.keys() & after.keys()
        copy.kubectl("rollout", "undo", "deployment/seatrial")
        copy.settle()
        assert set(pods_and_levels(copy).values()) == {"INFO"}


def test_the_twin_without_hashes_changes_its_settings_and_no_pod(images: Images) -> None:
    with deployed(images, "unhashed-settings", LOG_LEVEL="INFO") as twin:
        before, generation = pods_and_levels(twin), twin.deployment()["metadata"]["generation"]
        twin.change(LOG_LEVEL="WARNING")
        twin.settle()
        assert twin.kubectl.get("configmap", "seatrial-settings")["data"]["LOG_LEVEL"] == "WARNING"
        assert twin.deployment()["metadata"]["generation"] == generation  # so nobody has anything to roll
        assert pods_and_levels(twin) == before


def test_the_secret_is_a_file_for_its_reader_only(copy: Copy) -> None:
    for pod in copy.kubectl.pods("seatrial"):
        name = pod["metadata"]["name"]
        mode, owner, group = copy.kubectl.exec(name, "stat", "-L", "-c", "%a %u %g", FILE).split()
        assert (mode, owner, group) == ("440", "0", "10001")
        environ = copy.kubectl.exec(name, "sh", "-c", "tr '\\0' '\\n' </proc/1/environ")
        assert "SESSION_URL=" in environ
        assert "PASSWORD" not in environ


def test_no_describe_shows_the_secret(copy: Copy) -> None:
    password = (copy.folder / "SESSION_PASSWORD").read_text()
    shown = describe(copy)
    assert "SESSION_PASSWORD" in shown  # so the secret itself was described
    assert password not in shown
    assert base64.b64encode(password.encode()).decode() not in shown


def test_the_twin_with_the_password_in_its_environment_shows_it(images: Images) -> None:
    with deployed(images, "password-in-env", settled=False) as twin:
        assert "in-plain-sight" in describe(twin)


def describe(copy: Copy) -> str:
    kinds = "deployments,replicasets,statefulsets,pods,configmaps,secrets,services,events"
    return copy.kubectl("describe", kinds)
