"""Files as a visitor has them, over HTTP: names, conditions, ranges, digests, limits, quotas, and nobody else's."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.sample.support import wait_for_account
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.http import Answer
from tests.support.processes import wait_until
from tests.support.product import Visitor, file_path, running_product
from tests.support.raw import RawClient, head
from tests.support.stacks import Stack


@pytest.fixture
def visitor(stack: Stack) -> Iterator[Visitor]:
    with Visitor(stack.app_url) as somebody:
        yield somebody


def names_of(visitor: Visitor) -> list[str]:
    return [entry["name"] for entry in visitor.get("/api/files?limit=1000").json["files"]]


def test_a_file_comes_back_as_it_was_sent(visitor: Visitor) -> None:
    body = bytes(range(256)) * 1000
    stored = visitor.put("ledger.bin", body, content_type="application/x-ledger")
    assert (stored.status, stored.json["size"]) == (201, len(body))
    read = visitor.get(file_path("ledger.bin"))
    assert read.body == body
    assert read.headers["ETag"] == stored.headers["ETag"] == stored.json["etag"]
    assert read.headers["Content-Type"] == "application/x-ledger"
    assert read.headers["Content-Disposition"].startswith("attachment;")
    assert read.headers["X-Content-Type-Options"] == "nosniff"
    assert read.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert "Cookie" in read.headers["Vary"]


def test_an_empty_file_is_a_file(visitor: Visitor) -> None:
    assert visitor.put("empty", b"").status == 201
    read = visitor.get(file_path("empty"))
    assert (read.status, read.body, read.headers["Content-Length"]) == (200, b"", "0")


def test_replacing_changes_the_tag_and_the_account(visitor: Visitor) -> None:
    first = visitor.put("a", b"one")
    second = visitor.put("a", b"three")
    assert (first.status, second.status) == (201, 200)
    assert first.headers["ETag"] != second.headers["ETag"]
    usage = visitor.get("/api/files").json["usage"]
    assert (usage["files"], usage["bytes"]) == (1, 5)


def test_deleting_is_done_when_the_response_comes(visitor: Visitor) -> None:
    visitor.put("a", b"one")
    assert visitor.ask("DELETE", file_path("a")).status == 204
    assert visitor.get(file_path("a")).status == 404
    assert visitor.ask("DELETE", file_path("a")).status == 404
    usage = visitor.get("/api/files").json["usage"]
    assert (usage["files"], usage["bytes"]) == (0, 0)


def test_a_body_of_unknown_length_is_stored(visitor: Visitor) -> None:
    chunks = [b"x" * 100_000] * 30
    assert visitor.put("chunked", iter(chunks)).json["size"] == 3_000_000
    assert visitor.get(file_path("chunked")).body == b"".join(chunks)
    assert visitor.get("/api/files").json["usage"]["bytes"] == 3_000_000


@pytest.mark.parametrize("name", ["日本語 ☃.txt", "a?b#c&d=%2F", "CON", "...", "\u202etxt.exe", "x" * 255, "a\\b"])
def test_odd_names_come_back(visitor: Visitor, name: str) -> None:
    assert visitor.put(name, b"x").json["name"] == name
    assert names_of(visitor) == [name]
    assert visitor.get(file_path(name)).status == 200


@pytest.mark.parametrize("path", ["a%2Fb", "%2e%2e", "..", ".", "%00", "a%0Ab", "%ff%fe", "x" * 256, "%2F", "a//b"])
def test_bad_names_are_refused(visitor: Visitor, path: str) -> None:
    for method, body in (("PUT", b"x"), ("GET", None), ("DELETE", None)):
        answer = visitor.ask(method, "/api/files/" + path, body)
        assert (answer.status, answer.kind) == (400, "bad-name"), (method, answer.body)
    assert names_of(visitor) == []


def test_names_that_differ_in_composition_only_are_one_file(visitor: Visitor) -> None:
    assert visitor.put("e\u0301", b"one").status == 201
    assert visitor.put("\u00e9", b"two").status == 200
    assert names_of(visitor) == ["\u00e9"]


def test_nobody_reaches_another_s_file(stack: Stack, visitor: Visitor) -> None:
    visitor.put("secret", b"mine")
    with Visitor(stack.app_url) as other:
        assert other.get(file_path("secret")).status == 404
        other.put("own", b"x")
        assert other.get(file_path("secret")).status == 404
        assert other.ask("DELETE", file_path("secret")).status == 404
        assert names_of(other) == ["own"]
        for trick in ("%2e%2e%2fsecret", "..%2f..%2fvisitors", "%2fvisitors%2f"):
            assert other.get("/api/files/" + trick).status == 400
        assert other.get("/api/files?prefix=" + quote("../")).status == 400
    assert visitor.get(file_path("secret")).body == b"mine"


def test_conditions_decide_before_anything_is_written(visitor: Visitor) -> None:
    tag = visitor.put("a", b"one", if_none_match="*").headers["ETag"]
    refused = visitor.put("a", b"two", if_none_match="*")
    assert (refused.status, refused.kind) == (412, "changed-meanwhile")
    assert visitor.put("a", b"two", if_match='"other"').status == 412
    assert visitor.put("b", b"two", if_match="*").status == 412
    assert visitor.get(file_path("a")).body == b"one"
    assert visitor.put("a", b"two", if_match=tag).status == 200
    assert visitor.ask("DELETE", file_path("a"), headers={"If-Match": tag}).status == 412
    assert visitor.get(file_path("a"), if_none_match=tag).status == 200
    usage = visitor.get("/api/files").json["usage"]
    assert (usage["files"], usage["bytes"]) == (1, 3)


def test_a_reader_that_has_it_gets_304(visitor: Visitor) -> None:
    tag = visitor.put("a", b"one").headers["ETag"]
    again = visitor.get(file_path("a"), if_none_match=tag)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert visitor.get(file_path("a"), if_none_match=f', "x",,W/{tag} ,').status == 304
    modified = visitor.get(file_path("a")).headers["Last-Modified"]
    assert visitor.get(file_path("a"), if_modified_since=modified).status == 304


def test_head_is_get_without_the_body(visitor: Visitor) -> None:
    visitor.put("a", b"x" * 100_000)
    get, head = visitor.get(file_path("a")), visitor.ask("HEAD", file_path("a"))
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Type", "Last-Modified", "Content-Disposition"):
        assert head.headers[name] == get.headers[name]


def test_a_range_is_cut_out(visitor: Visitor) -> None:
    body = bytes(range(256)) * 4000
    tag = visitor.put("a", body).headers["ETag"]
    part = visitor.get(file_path("a"), range="bytes=1000-700000")
    assert (part.status, part.body) == (206, body[1000:700001])
    assert part.headers["Content-Range"] == f"bytes 1000-700000/{len(body)}"
    assert visitor.get(file_path("a"), range="bytes=-10").body == body[-10:]
    assert visitor.get(file_path("a"), range="Bytes=, 5-6 ,").body == body[5:7]  # empty members count for nothing
    assert visitor.get(file_path("a"), range="bytes=0-1,bytes=5-6").status == 200  # as two fields would come
    assert visitor.get(file_path("a"), range="bytes=0-0", if_range='"x"').status == 200
    assert visitor.get(file_path("a"), range="bytes=0-0", if_range=tag).status == 206
    beyond = visitor.get(file_path("a"), range="bytes=9999999-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(body)}")


def test_a_digest_that_fits_is_accepted_and_one_that_does_not_leaves_nothing(visitor: Visitor) -> None:
    body = b"digest me" * 10_000
    right = base64.b64encode(hashlib.sha256(body).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    for sent in (body, iter([body])):
        answer = visitor.put("a", sent, content_digest=f"sha-256=:{wrong}:")
        assert (answer.status, answer.kind) == (400, "wrong-digest")
    malformed = visitor.put("a", body, content_digest="sha-256=nonsense")
    assert (malformed.status, malformed.kind) == (400, "bad-digest")
    assert names_of(visitor) == []
    assert visitor.get("/api/files").json["usage"]["bytes"] == 0
    assert visitor.put("a", body, content_digest=f"md5=:AAAA:, sha-256=:{right}:").status == 201
    parameters = f'md5=:AAAA:;q="a, b";x,sha-256=:{right}:; by=me;n=1 , unixsum=:AQ==:'
    assert visitor.put("a", body, content_digest=parameters).status == 200
    for broken in (f"sha-256=:{right}:,", f"sha-256=:{right}: sha-512=:AA==:", f'sha-256=:{right}:;q="'):
        answer = visitor.put("a", body, content_digest=broken)
        assert (answer.status, answer.kind) == (400, "bad-digest")


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(small: Stack) -> None:
    with Visitor(small.app_url) as visitor:
        declared = visitor.put("a", b"x" * 1_000_001)
        assert declared.status == 413
        chunked = visitor.put("a", (b"x" * 100_000 for _ in range(30)))
        assert chunked.status == 413
        assert names_of(visitor) == []
        assert visitor.put("a", b"x" * 1_000_000).status == 201


def test_the_number_of_files_is_limited_however_many_race(small: Stack) -> None:
    with Visitor(small.app_url) as visitor:
        visitor.put("first", b"x")

        def upload(number: int) -> int:
            with Visitor(small.app_url) as twin:
                twin.cookies = dict(visitor.cookies)
                while (status := twin.put(f"f{number}", b"y" * 20_000).status) == 503:
                    pass  # all places for transfers are taken: come again
                return status

        with ThreadPoolExecutor(32) as pool:
            statuses = list(pool.map(upload, range(32)))
        assert sorted(set(statuses)) == [201, 507]
        assert statuses.count(201) == 9  # MAX_FILES is 10
        assert len(names_of(visitor)) == 10
        refused = visitor.put("one-more", b"x")
        assert (refused.status, refused.kind) == (507, "quota")
        assert visitor.put("first", b"replaced").status == 200
        visitor.ask("DELETE", file_path("first"))
        assert visitor.put("one-more", b"x").status == 201


def test_the_bytes_are_limited_for_declared_and_for_chunked_bodies(small: Stack) -> None:
    with Visitor(small.app_url) as visitor:
        for number in range(2):
            assert visitor.put(f"f{number}", b"x" * 900_000).status == 201
        assert visitor.put("f2", b"x" * 900_000).status == 507  # MAX_TOTAL_BYTES is 2 000 000
        assert visitor.put("f2", b"x" * 200_000).status == 201
        usage = visitor.get("/api/files").json["usage"]
        assert (usage["files"], usage["bytes"]) == (3, 2_000_000)


def test_a_chunked_body_may_replace_a_larger_file_at_a_full_quota(small: Stack) -> None:
    with Visitor(small.app_url) as visitor:
        for number in range(2):
            assert visitor.put(f"f{number}", b"x" * 1_000_000).status == 201
        assert visitor.put("f2", iter([b"x"])).status == 507  # MAX_TOTAL_BYTES is 2 000 000
        assert visitor.put("f0", (b"y" * 100_000 for _ in range(9))).status == 200
        usage = visitor.get("/api/files").json["usage"]
        assert (usage["files"], usage["bytes"]) == (2, 1_900_000)
        assert visitor.put("f0", (b"y" * 100_000 for _ in range(10))).status == 200
        assert visitor.put("f1", (b"y" * 100_000 for _ in range(11))).status == 413


def test_of_two_writers_that_want_to_create_exactly_one_wins(stack: Stack, visitor: Visitor) -> None:
    visitor.put("warm-up", b"x")
    barrier = threading.Barrier(5)

    def create(number: int) -> int:
        with Visitor(stack.app_url) as twin:
            twin.cookies = dict(visitor.cookies)
            barrier.wait()
            return twin.put("contested", f"writer {number}".encode() * 5000, if_none_match="*").status

    with ThreadPoolExecutor(5) as pool:
        statuses = sorted(pool.map(create, range(5)))
    assert statuses == [201, 412, 412, 412, 412]


@pytest.mark.parametrize("change", ["created", "replaced", "deleted"])
def test_what_changes_during_an_upload_is_not_overwritten_unseen(tmp_path: Path, change: str) -> None:
    """However small it is: what counts is what was there when the request came."""
    with strict_gcs(tmp_path) as store, contextlib.ExitStack() as stack:
        create_bucket(store.url, "files")
        settings = {"STORAGE_URL": "gs://files", "STORAGE_EMULATOR_HOST": store.url}
        settings |= {
            "READY_REQUIRES": "storage",
            "DEPENDENCY_CHECK_INTERVAL": "300s",
        }  # no check is taken for a question
        service = stack.enter_context(running_product(tmp_path, settings))
        visitor = stack.enter_context(Visitor(service.app_url))
        slow = stack.enter_context(RawClient(service.app_url))
        platform = stack.enter_context(Visitor(service.ops_url))
        wait_until("the first check of the store", lambda: platform.get("/ready").status == 200)
        visitor.put("another", b"x")
        if change != "created":
            visitor.put("a", b"first")
        store.clear()
        cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        slow.send(head("PUT", file_path("a"), f"Cookie: {cookie}", "Content-Length: 60000") + b"x")
        wait_until("the upload's question", lambda: store.calls.get("objects.get") == 1)
        if change == "deleted":
            assert visitor.ask("DELETE", file_path("a")).status == 204
        else:
            assert visitor.put("a", b"meanwhile").status in (200, 201)
        slow.send(b"x" * 59_999)
        assert slow.answer().status == 409
        found = visitor.get(file_path("a"))
        assert found.status == 404 if change == "deleted" else found.body == b"meanwhile"


def test_first_uploads_that_race_are_all_kept(stack: Stack) -> None:
    for _ in range(5):
        with Visitor(stack.app_url) as visitor:
            visitor.ask("POST", "/api/session/visits")
            barrier = threading.Barrier(5)

            def upload(number: int, cookies: dict[str, str], together: threading.Barrier) -> int:
                with Visitor(stack.app_url) as twin:
                    twin.cookies = dict(cookies)
                    together.wait()
                    return twin.put(f"first-{number}", b"x").status

            with ThreadPoolExecutor(5) as pool:
                answers = [pool.submit(upload, number, visitor.cookies, barrier) for number in range(5)]
                assert [answer.result() for answer in answers] == [201] * 5
            assert names_of(visitor) == [f"first-{number}" for number in range(5)]


def test_an_aborted_upload_leaves_nothing(stack: Stack, visitor: Visitor) -> None:
    visitor.put("warm-up", b"x")

    def broken() -> Iterator[bytes]:
        yield b"x" * 300_000
        raise ConnectionAbortedError

    with Visitor(stack.app_url) as twin:
        twin.cookies = dict(visitor.cookies)
        with pytest.raises(ConnectionAbortedError):
            twin.ask("PUT", file_path("half"), broken(), {"Content-Length": "1000000"})
        with pytest.raises(ConnectionAbortedError):
            twin.ask("PUT", file_path("half"), broken())
    wait_for_account(visitor, files=1, size=1)
    assert names_of(visitor) == ["warm-up"]


def upload_meanwhile(
    stack: Stack, visitor: Visitor, name: str, act: Callable[[], object], *, is_declared: bool = False
) -> Answer:
    """The answer to an upload during which, between its first byte and its last, something else is done."""

    def reserved() -> int:
        return int(visitor.get("/api/files").json["usage"]["bytes"])

    before = reserved()

    def body() -> Iterator[bytes]:
        yield b"late" * 100_000
        wait_until("room reserved for what has come", lambda: reserved() > before)
        act()
        yield b"late"

    with Visitor(stack.app_url) as twin:
        twin.cookies = dict(visitor.cookies)
        headers = {"Content-Length": "400004"} if is_declared else {}
        return twin.ask("PUT", file_path(name), body(), headers)


def test_an_upload_overwrites_nothing_unseen(stack: Stack, visitor: Visitor) -> None:
    visitor.put("contested", b"first")
    answer = upload_meanwhile(stack, visitor, "contested", lambda: visitor.put("contested", b"second"))
    assert (answer.status, answer.kind) == (409, "changed-meanwhile")
    assert visitor.get(file_path("contested")).body == b"second"
    wait_for_account(visitor, files=1, size=6)


def test_an_upload_of_a_visitor_who_signs_out_leaves_nothing(stack: Stack, visitor: Visitor) -> None:
    """Nobody could ever reach it again."""
    visitor.put("warm-up", b"x")
    answer = upload_meanwhile(stack, visitor, "orphan", lambda: visitor.ask("DELETE", "/api/session"))
    assert answer.status == 409
    assert not [name for name in stack.stored_names() if "orphan" in name]


@pytest.mark.parametrize("is_declared", [True, False])
def test_signing_in_during_an_upload_refuses_it_and_keeps_what_was_there(
    stack: Stack, visitor: Visitor, *, is_declared: bool
) -> None:
    """Who has the old id only has no part in the session any more (session fixation)."""
    visitor.put("kept", b"first")
    answer = upload_meanwhile(
        stack, visitor, "kept", lambda: visitor.ask("PUT", "/api/session", name="Ada"), is_declared=is_declared
    )
    assert (answer.status, answer.kind) == (409, "session-gone")
    assert "Set-Cookie" not in answer.headers
    assert visitor.get(file_path("kept")).body == b"first"


def test_listing_goes_page_by_page_in_order(stack: Stack, visitor: Visitor) -> None:
    names = [f"n{number:02}" for number in range(7)] + ["other", "é"]
    for name in reversed(names):
        visitor.put(name, name.encode())
    seen: list[str] = []
    token = ""
    while True:
        page = visitor.get(f"/api/files?limit=2&page_token={quote(token)}").json
        seen += [entry["name"] for entry in page["files"]]
        if page["next_page_token"] is None:
            break
        token = page["next_page_token"]
    assert seen == names
    assert [e["name"] for e in visitor.get("/api/files?prefix=n0").json["files"]] == names[:7]
    bad = ["limit=0", "limit=1001", "limit=many", "prefix=%00"]
    if stack.name != "redis":  # fake-gcs-server takes any token
        bad.append("page_token=nonsense!")
    for query in bad:
        assert visitor.get("/api/files?" + query).status == 400, query


def test_a_prefix_may_be_what_no_name_is(visitor: Visitor) -> None:
    """Names may begin with dots."""
    for name in (".profile", "...", "..a", "a"):
        visitor.put(name, b"x")
    for prefix, found in (("", 4), (".", 3), ("..", 2), ("...", 1)):
        assert len(visitor.get(f"/api/files?prefix={prefix}").json["files"]) == found, prefix


def test_only_pictures_are_shown_inline(visitor: Visitor) -> None:
    for given, shown, kind in (
        ("image/png", "image/png", "inline"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("text/html", "text/html", "attachment"),
        ('text/html"\t<script>', "application/octet-stream", "attachment"),
    ):
        visitor.put("a", b"x", content_type=given)
        answer = visitor.get(file_path("a"))
        assert answer.headers["Content-Type"] == shown
        assert answer.headers["Content-Disposition"].startswith(kind)


def test_signing_out_gives_up_the_files(visitor: Visitor) -> None:
    visitor.put("a", b"x")
    visitor.ask("DELETE", "/api/session")
    assert visitor.get("/api/files").json["files"] == []


def test_signing_in_keeps_the_files(visitor: Visitor) -> None:
    visitor.put("a", b"x")
    visitor.ask("PUT", "/api/session", name="Ada")
    assert names_of(visitor) == ["a"]
    assert json.loads(visitor.get("/api/session").body)["name"] == "Ada"
