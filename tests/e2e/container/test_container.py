"""The image as it runs: any user but root, no rights, a read-only root, little memory. Everything it promises holds."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.container.podman import Container, has_no_rights, running_container, status_of
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.processes import wait_until
from tests.support.product import Visitor, file_path
from tests.support.raw import RawClient, head
from tests.support.redis import redis_server

pytestmark = pytest.mark.timeout(600)

GIB = 2**30
BLOCK = bytes(range(256)) * 4096  # 1 MiB
MEMORY = 200 * 2**20  # bytes: what CONFINED gives


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings that name a real Redis and our strict object store."""
    folder = tmp_path_factory.mktemp("stores")
    with redis_server(folder) as redis, strict_gcs(folder) as gcs:
        create_bucket(gcs.url, "files")
        yield {
            "SESSION_URL": redis.url,
            "STORAGE_URL": "gs://files",
            "STORAGE_EMULATOR_HOST": gcs.url,
            "STORAGE_TIMEOUT": "60s",
        }


@pytest.fixture(scope="module")
def container(image: str, stores: dict[str, str]) -> Iterator[Container]:
    with running_container(image, stores) as running:
        yield running


def serves(container: Container) -> None:
    with Visitor(container.service.app_url) as visitor:
        assert visitor.get("/ready").status == 200
        assert visitor.ask("POST", "/api/session/visits").json == {"visits": 1}
        assert visitor.put("a", b"some bytes").status == 201
        assert visitor.get(file_path("a")).body == b"some bytes"


def test_it_starts_and_serves(container: Container) -> None:
    serves(container)


def test_start_to_first_response(image: str, stores: dict[str, str]) -> None:
    started = time.monotonic()
    with running_container(image, stores) as container, Visitor(container.service.app_url) as visitor:
        wait_until("ready", lambda: visitor.get("/ready").status == 200)
        print(f"{time.monotonic() - started:.2f} s from 'podman run' to the first 200 of /ready")


def test_every_process_is_without_rights(container: Container) -> None:
    pids = container.pids
    assert len(pids) == 2  # the parent and one worker
    assert all(has_no_rights(pid, 10001, 10001) for pid in pids)


def test_its_limits_are_in_force(container: Container) -> None:
    """As the kernel says it in there, by control groups of version 1 or 2."""
    found = container.python(
        """
import json, pathlib
def first_word(*names):
    paths = [pathlib.Path("/sys/fs/cgroup", name) for name in names]
    return next(path.read_text().split()[0] for path in paths if path.exists())
print(json.dumps([
    first_word("memory/memory.limit_in_bytes", "memory.max"),
    first_word("pids/pids.max", "pids.max"),
    first_word("cpu/cpu.cfs_quota_us", "cpu.max"),
]))
"""
    )
    assert found == [str(MEMORY), "64", "100000"]  # microseconds of each 100000: one CPU


def test_the_service_itself_is_the_first_process(container: Container) -> None:
    """A shell in front would not hand on SIGTERM."""
    command = Path(f"/proc/{container.pids[0]}/cmdline").read_bytes().split(b"\0")
    assert command[1:3] == [b"-m", b"service"]
    assert status_of(container.pids[0])["NSpid"].split()[-1] == "1"


def test_nothing_can_be_written_but_shared_memory(container: Container) -> None:
    tried = container.python(
        """
import json, os
written, tried = [], 0
for folder, folders, names in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys")]
    tried += 1
    path = os.path.join(folder, "written-by-a-test")
    try:
        with open(path, "w"):
            written.append(folder)
        os.unlink(path)
    except OSError:
        pass
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.W_OK):
            written.append(path)
print(json.dumps([tried, written]))
"""
    )
    assert tried[0] > 500
    assert set(tried[1]) <= {"/dev/shm", "/dev/mqueue"}


def test_a_gib_goes_up_within_200_mib(container: Container) -> None:
    with Visitor(container.service.app_url, timeout=300) as visitor:
        body = (BLOCK for _ in range(GIB // len(BLOCK)))
        answer = visitor.ask("PUT", file_path("large"), body, {"Content-Length": str(GIB)})
        assert (answer.status, answer.json["size"]) == (201, GIB)
        peaks = [int(status_of(pid)["VmHWM"].split()[0]) * 1024 for pid in container.pids]
        print(f"1 GiB up; the processes' peaks were {' and '.join(f'{peak / 2**20:.0f} MiB' for peak in peaks)}")
        assert sum(peaks) < MEMORY
        assert container.service.process.poll() is None


def test_sigterm_drains_and_ends_with_0(image: str, stores: dict[str, str]) -> None:
    settings = stores | {"SHUTDOWN_DELAY": "1s"}
    with running_container(image, settings) as container, contextlib.ExitStack() as stack:
        service = container.service
        upload = stack.enter_context(RawClient(service.app_url))
        upload.send(head("PUT", file_path("slow"), "Content-Length: 200000") + b"x" * 100_000)
        platform = stack.enter_context(Visitor(service.ops_url))
        wait_until("the upload in flight", lambda: "active_requests 1" in platform.get("/metrics").body.decode())
        service.process.terminate()
        wait_until("not ready", lambda: platform.get("/ready").status == 503)
        with Visitor(service.app_url) as late:
            assert late.get("/api/instance").status == 200
        service.wait_for(lambda r: r["message"].startswith("Worker exiting") or "draining" in r["message"])
        upload.send(b"x" * 100_000)
        assert upload.answer().status == 201
        service.process.wait(60)
        service.wait_for_end()
        assert service.exit_code == 0
        assert any(r["message"] == f"PUT {file_path('slow')} 201" for r in service.log)
        assert len(service.log) == len(service.stdout.splitlines())


def test_any_user_will_do(image: str, stores: dict[str, str]) -> None:
    """OpenShift gives a number that nobody knows before, and the group 0."""
    with running_container(image, stores, user="1000680000:0") as container:
        assert status_of(container.pids[-1])["Uid"].split()[0] == "1000680000"
        serves(container)


def test_no_network_is_needed_but_for_the_stores(image: str, tmp_path: Path) -> None:
    """They are a socket and a folder here; the container has a loopback device and nothing else."""
    shared = tmp_path / "shared"
    (shared / "files").mkdir(parents=True)
    for folder in (shared, shared / "files"):
        folder.chmod(0o777)
    socket = ("--unixsocket", str(shared / "redis.sock"), "--unixsocketperm", "777")
    settings = {"SESSION_URL": "unix:///shared/redis.sock", "STORAGE_URL": "file:///shared/files"}
    with redis_server(tmp_path, *socket):
        with running_container(image, settings, network="none", options=("--volume", f"{shared}:/shared")) as container:
            port = urlsplit(container.service.app_url).port
            seen = container.python(
                f"""
import json, os, urllib.request
def ask(method, path, body=None, cookie=""):
    url = "http://127.0.0.1:{port}" + path
    request = urllib.request.Request(url, body, {{"Cookie": cookie}}, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode(), answer.headers["Set-Cookie"]
first, cookie = ask("POST", "/api/session/visits")
cookie = cookie.partition(";")[0]
ask("PUT", "/api/files/a", b"some bytes", cookie)
devices = sorted(os.listdir("/sys/class/net"))
visits, content = ask("POST", "/api/session/visits", None, cookie)[0], ask("GET", "/api/files/a", None, cookie)[0]
print(json.dumps([devices, visits, content]))
"""
            )
            assert seen[0] == ["lo"]
            assert json.loads(seen[1]) == {"visits": 2}
            assert seen[2] == "some bytes"
    assert list((shared / "files").iterdir())
