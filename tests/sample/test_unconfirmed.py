"""A visitor's files and account where the object store does not confirm what it did, or damages what it sends.

The account may be too high for a while. It is never too low, whatever the order of the requests.
"""

import contextlib
import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.gcs import StrictGcs, create_bucket, strict_gcs
from tests.support.http import Answer
from tests.support.processes import wait_until
from tests.support.product import Visitor, file_path, running_product
from tests.support.service import Service

LARGE = 3 * 2**20  # bytes: more than one piece of a download


@dataclass(frozen=True)
class Scene:
    objects: StrictGcs
    service: Service

    @contextlib.contextmanager
    def visitor(self) -> Iterator[Visitor]:
        """Somebody with a session."""
        with Visitor(self.service.app_url) as visitor:
            visitor.ask("POST", "/api/session/visits")
            self.objects.clear()
            visitor.put("first", b"")  # so that a listing asks the store
            self.wait_for_the_store(visitor)
            visitor.ask("DELETE", file_path("first"))
            yield visitor
            self.objects.clear()

    def wait_for_the_store(self, visitor: Visitor) -> None:
        """Until its breaker lets requests through again."""
        wait_until("a listing", lambda: visitor.get("/api/files").status == 200)

    @contextlib.contextmanager
    def meanwhile(self, visitor: Visitor, method: str, body: bytes = b"") -> Iterator[list[Answer]]:
        """The same visitor's other request for the file ``a``. The list has its response afterwards."""
        answers: list[Answer] = []
        with Visitor(self.service.app_url) as twin, ThreadPoolExecutor(1) as pool:
            twin.cookies = dict(visitor.cookies)
            other = pool.submit(twin.ask, method, file_path("a"), body)
            yield answers
            answers.append(other.result(60))


@contextlib.contextmanager
def scene(folder: Path, **more: str) -> Iterator[Scene]:
    with strict_gcs(folder) as objects:
        create_bucket(objects.url, "files")
        settings = {"STORAGE_URL": "gs://files", "STORAGE_EMULATOR_HOST": objects.url, "READY_REQUIRES": "storage"}
        settings |= {"DEPENDENCY_CHECK_INTERVAL": "300s"}  # no check meets a fault
        with running_product(folder, settings | more) as service, Visitor(service.ops_url) as platform:
            wait_until("the first check of the store", lambda: platform.get("/ready").status == 200)
            yield Scene(objects, service)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("patient")) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Nothing is tried again, and three files are the most."""
    with scene(tmp_path_factory.mktemp("hasty"), STORAGE_RETRY_BUDGET="0s", MAX_FILES="3") as running:
        yield running


def used_and_real(visitor: Visitor) -> tuple[int, int, int, int]:
    """Files and bytes as the account has them, then as they are."""
    wait_until("a listing", lambda: visitor.get("/api/files").status == 200)  # the store's breaker may be open
    page = visitor.get("/api/files?limit=1000").json
    sizes = [entry["size"] for entry in page["files"]]
    return page["usage"]["files"], page["usage"]["bytes"], len(sizes), sum(sizes)


def assert_not_too_low(visitor: Visitor) -> None:
    files, size, real_files, real_size = used_and_real(visitor)
    assert files >= real_files
    assert size >= real_size


def test_an_upload_that_was_not_confirmed_says_that_it_may_have_been_stored(hasty: Scene) -> None:
    """And what was reserved for it stays reserved: no more files come in than MAX_FILES."""
    with hasty.visitor() as visitor:
        hasty.objects.fault("upload.multipart", "lost", times=-1)
        hasty.objects.fault("objects.get", "status", times=-1)
        answers = []
        for number in range(7):
            hasty.wait_for_the_store(visitor)  # its breaker has opened
            answers.append(visitor.put(f"f{number}", b"x", if_none_match="*"))
        assert [answer.status for answer in answers] == [503] * 3 + [507] * 4
        for answer in answers[:3]:
            assert answer.kind == "may-have-been-stored"
            assert "may have been stored" in answer.json["detail"]
            assert answer.headers["Retry-After"]
        assert used_and_real(visitor) == (3, 3, 3, 3)


def test_an_upload_that_failed_gives_back_what_it_reserved(hasty: Scene) -> None:
    with hasty.visitor() as visitor:
        hasty.objects.fault("upload.multipart", "status", times=-1)
        answer = visitor.put("a", b"x")
        assert (answer.status, answer.kind) == (503, "object-store-unavailable")
        assert used_and_real(visitor) == (0, 0, 0, 0)


def test_a_new_file_that_was_not_confirmed_and_then_replaced_is_in_the_account(patient: Scene) -> None:
    with patient.visitor() as visitor:
        before = patient.objects.state["objects"]
        patient.objects.fault("upload.multipart", "lost", seconds=1.5)
        with patient.meanwhile(visitor, "PUT", b"x" * 10) as first:
            wait_until("the file is stored", lambda: patient.objects.state["objects"] > before)
            assert visitor.put("a", b"y" * 20).status == 200
        assert (first[0].status, first[0].kind) == (503, "may-have-been-stored")
        assert_not_too_low(visitor)
        assert visitor.get(file_path("a")).body == b"y" * 20


def test_a_new_file_that_was_not_confirmed_and_then_deleted_and_sent_again_is_in_the_account(patient: Scene) -> None:
    with patient.visitor() as visitor:
        before = patient.objects.state["objects"]
        patient.objects.fault("upload.multipart", "lost", seconds=1.5)
        with patient.meanwhile(visitor, "PUT", b"x" * 10) as first:
            wait_until("the file is stored", lambda: patient.objects.state["objects"] > before)
            assert visitor.ask("DELETE", file_path("a")).status == 204
        assert first[0].status == 201
        assert visitor.get(file_path("a")).body == b"x" * 10
        assert_not_too_low(visitor)


def test_a_file_that_grew_unconfirmed_and_was_then_replaced_is_in_the_account(patient: Scene) -> None:
    with patient.visitor() as visitor:
        tag = visitor.put("a", b"x" * 10).headers["ETag"]
        patient.objects.clear()
        patient.objects.fault("upload.multipart", "lost", seconds=1.5)
        with patient.meanwhile(visitor, "PUT", b"x" * 1000) as first:
            wait_until("it is replaced", lambda: visitor.ask("HEAD", file_path("a")).headers["ETag"] != tag)
            assert visitor.put("a", b"y" * 1100).status == 200
        assert (first[0].status, first[0].kind) == (503, "may-have-been-stored")
        assert_not_too_low(visitor)


def test_a_file_that_two_requests_deleted_leaves_the_account_once(patient: Scene) -> None:
    """The first one never reached the store, but can't know that."""
    with patient.visitor() as visitor:
        visitor.put("a", b"x" * 10)
        visitor.put("b", b"y" * 20)
        patient.objects.clear()
        patient.objects.fault("objects.delete", "latency", seconds=1.5)
        patient.objects.fault("objects.delete", "drop")
        with patient.meanwhile(visitor, "DELETE") as first:
            wait_until("the first has begun", lambda: patient.objects.calls.get("objects.delete") == 1)
            assert visitor.ask("DELETE", file_path("a")).status == 204
        assert first[0].status == 204
        assert used_and_real(visitor) == (1, 20, 1, 20)


def test_many_deletes_at_once_all_leave_the_account(patient: Scene) -> None:
    with patient.visitor() as visitor:
        for number in range(30):
            visitor.put(f"f{number}", b"x")

        def delete(number: int) -> int:
            with Visitor(patient.service.app_url) as twin:
                twin.cookies = dict(visitor.cookies)
                return twin.ask("DELETE", file_path(f"f{number}")).status

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(delete, range(30))) == {204}
        assert used_and_real(visitor) == (0, 0, 0, 0)


def test_a_delete_that_meets_a_write_is_decided_again(patient: Scene) -> None:
    with patient.visitor() as visitor:
        tag = visitor.put("a", b"x").headers["ETag"]
        patient.objects.fault("objects.delete", "latency", seconds=1.5)
        with patient.meanwhile(visitor, "DELETE") as first:
            wait_until("the delete has begun", lambda: patient.objects.calls.get("objects.delete") == 1)
            assert visitor.put("a", b"another").status == 200
        assert first[0].status == 204
        assert visitor.get(file_path("a")).status == 404
        assert used_and_real(visitor) == (0, 0, 0, 0)
        visitor.put("a", b"x")
        assert visitor.ask("DELETE", file_path("a"), headers={"If-Match": tag}).status == 412


def test_a_file_that_was_damaged_on_its_way_to_the_visitor_says_that(patient: Scene) -> None:
    with patient.visitor() as visitor:
        visitor.put("a", b"x" * 1000)
        patient.objects.fault("objects.media", "corrupt")
        answer = visitor.get(file_path("a"))
        assert (answer.status, answer.kind) == (502, "damaged-from-store")
        assert "on its way from" in answer.json["detail"]
        assert visitor.get(file_path("a")).body == b"x" * 1000


def test_what_the_store_breaks_off_is_one_warning(patient: Scene) -> None:
    """The status that went over the wire stays the status."""
    with patient.visitor() as visitor:
        visitor.put("large", b"x" * LARGE)
        patient.objects.fault("objects.media", "corrupt")
        begin = len(patient.service.log)
        with pytest.raises(http.client.IncompleteRead):
            visitor.get(file_path("large"))

        def is_access(record: dict[str, object]) -> bool:
            request = record.get("httpRequest")
            return isinstance(request, dict) and request["requestUrl"].endswith("/large") and "aborted" in record

        access = patient.service.wait_for(is_access)
        assert (access["severity"], access["httpRequest"]["status"]) == ("INFO", 200)
        others = [r for r in patient.service.log[begin:] if r.get("severity") not in ("INFO", "DEBUG")]
        assert [record["severity"] for record in others] == ["WARNING"]
        assert "broke off a response of status 200" in others[0]["message"]
