"""The strict server does what Google's documentation says, and Google's own client gets on with it."""

import base64
import http.client
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import google_crc32c
import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.support.gcs import StrictGcs, create_bucket, strict_gcs

BLOCK = 256 * 1024
UPLOADS = "/upload/storage/v1/b/files/o"


class Raw:
    """A client that sends exactly what it is told."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        self.connection.request(method, path, body, dict(headers or {}))
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def put(self, name: str, data: bytes = b"hello", query: str = "") -> tuple[int, Any]:
        """A multipart upload."""
        meta = json.dumps({"name": name, "crc32c": text(data)}).encode()
        raw = (
            b"--B\r\nContent-Type: application/json\r\n\r\n" + meta + b"\r\n--B\r\nContent-Type: a/b\r\n\r\n" + data
        ) + b"\r\n--B--\r\n"
        status, _, answer = self.ask(
            "POST",
            f"{UPLOADS}?uploadType=multipart&{query}",
            raw,
            {"Content-Type": "multipart/related; boundary=B"},
        )
        return status, json.loads(answer)

    def start(self, name: str, resource: dict[str, Any] | None = None, query: str = "") -> tuple[int, str]:
        """A resumable session: its path."""
        status, headers, _ = self.ask(
            "POST",
            f"{UPLOADS}?uploadType=resumable&{query}",
            json.dumps({"name": name, **(resource or {})}).encode(),
        )
        url = urlsplit(headers.get("Location", ""))
        return status, f"{url.path}?{url.query}"

    def chunk(self, session: str, span: str, data: bytes = b"", **headers: str) -> tuple[int, str | None]:
        """One request of a session: the status, and the Range."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, answered, _ = self.ask("PUT", session, data, {"Content-Range": f"bytes {span}", **named})
        return status, answered["Range"]


def text(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def path(name: str) -> str:
    return f"/storage/v1/b/files/o/{quote(name, safe='')}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictGcs]:
    with strict_gcs(tmp_path_factory.mktemp("strict")) as running:
        create_bucket(running.url, "files")
        yield running


@pytest.fixture
def raw(server: StrictGcs) -> Iterator[Raw]:
    server.clear()
    client = Raw(server.url)
    yield client
    client.connection.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.mark.parametrize("method", ["GET", "GET media", "DELETE", "multipart", "start"])
@pytest.mark.parametrize(("condition", "offset"), [("Match", 0), ("Match", 1), ("NotMatch", 1), ("NotMatch", 0)])
def test_preconditions_hold_on_every_verb(raw: Raw, name: str, method: str, condition: str, offset: int) -> None:
    generation = int(raw.put(name)[1]["generation"]) + offset
    query = f"ifGeneration{condition}={generation}"
    match method:
        case "multipart":
            status = raw.put(name, query=query)[0]
        case "start":
            status = raw.start(name, query=query)[0]
        case _:
            verb, _, media = method.partition(" ")
            status = raw.ask(verb, f"{path(name)}?{query}{'&alt=media' if media else ''}")[0]
    holds = (condition == "Match") == (offset == 0)
    refused = 304 if condition == "NotMatch" and method.startswith("GET") else 412
    assert status == ((204 if method == "DELETE" else 200) if holds else refused)


def test_a_precondition_is_looked_at_again_when_a_resumable_upload_ends(raw: Raw, name: str) -> None:
    _, session = raw.start(name, query="ifGenerationMatch=0")
    raw.put(name, b"faster")
    assert raw.chunk(session, "0-4/5", b"hello")[0] == 412
    assert raw.ask("GET", f"{path(name)}?alt=media")[2] == b"faster"


def test_a_wrong_checksum_makes_no_object(raw: Raw, name: str) -> None:
    _, session = raw.start(name, {"crc32c": text(b"other")})
    assert raw.chunk(session, "0-4/5", b"hello")[0] == 400
    _, session = raw.start(name)
    assert raw.chunk(session, "0-4/5", b"hello", X_Goog_Hash=f"crc32c={text(b'other')}")[0] == 400
    assert raw.ask("GET", path(name))[0] == 404
    _, session = raw.start(name)
    assert raw.chunk(session, "0-4/5", b"hello", X_Goog_Hash=f"crc32c={text(b'hello')}")[0] == 200


def test_a_resumable_upload_is_taken_up_where_it_was(raw: Raw, name: str) -> None:
    data = bytes(range(256)) * 1024 * 2 + b"end"
    _, session = raw.start(name)
    assert raw.chunk(session, "*/*") == (308, None)
    assert raw.chunk(session, f"0-{BLOCK - 1}/*", data[:BLOCK]) == (308, f"bytes=0-{BLOCK - 1}")
    assert raw.chunk(session, f"*/{len(data)}") == (308, f"bytes=0-{BLOCK - 1}")
    again = f"0-{2 * BLOCK - 1}/*"  # what is there already is passed over
    assert raw.chunk(session, again, data[: 2 * BLOCK]) == (308, f"bytes=0-{2 * BLOCK - 1}")
    assert raw.chunk(session, f"{2 * BLOCK}-{len(data) - 1}/{len(data)}", data[2 * BLOCK :])[0] == 200
    assert raw.chunk(session, f"*/{len(data)}")[0] == 200  # it stays known
    assert raw.ask("GET", f"{path(name)}?alt=media")[2] == data


def test_an_upload_of_unknown_size_may_end_without_bytes(raw: Raw, name: str) -> None:
    _, session = raw.start(name)
    raw.chunk(session, f"0-{BLOCK - 1}/*", bytes(BLOCK))
    assert raw.chunk(session, f"*/{BLOCK}")[0] == 200


@pytest.mark.parametrize(
    ("span", "size"),
    [("0-9/*", 10), (f"{BLOCK}-{2 * BLOCK - 1}/*", BLOCK), ("0-9/10", 9), ("0-9/5", 10), ("nonsense", 0), ("*/*", 3)],
    ids=["no multiple of 256 KiB", "a gap", "too few bytes", "beyond the total", "no range", "a question with a body"],
)
def test_a_chunk_that_does_not_fit_is_refused(raw: Raw, name: str, span: str, size: int) -> None:
    _, session = raw.start(name)
    assert raw.chunk(session, span, bytes(size))[0] == 400
    assert raw.chunk(session, "*/*") == (308, None)
    assert raw.ask("GET", path(name))[0] == 404


def test_a_cancelled_upload_is_gone(raw: Raw, server: StrictGcs, name: str) -> None:
    _, session = raw.start(name)
    assert server.state["sessions"] == 1
    assert raw.ask("DELETE", session, headers={"Content-Length": "0"})[0] == 499
    assert server.state["sessions"] == 0
    assert raw.chunk(session, "0-4/5", b"hello")[0] == 410
    assert raw.ask("GET", path(name))[0] == 404


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [("bytes=1-3", 206, b"ell"), ("bytes=3-", 206, b"lo"), ("bytes=0-99", 206, b"hello"), ("bytes=5-", 416, None)],
)
def test_ranges(raw: Raw, name: str, asked: str, status: int, body: bytes | None) -> None:
    raw.put(name)
    answered, headers, data = raw.ask("GET", f"{path(name)}?alt=media", headers={"Range": asked})
    assert answered == status
    if body is not None:
        assert data == body
        assert headers["Content-Range"].endswith("/5")


@pytest.mark.parametrize("bad", ["", ".", "..", "a\nb", "a\rb", "x" * 1025, "é" * 513, ".well-known/acme-challenge/x"])
def test_names_that_are_not_allowed(raw: Raw, bad: str) -> None:
    assert raw.put(bad)[0] == 400
    assert raw.start(bad)[0] == 400


def test_a_missing_bucket_is_told(raw: Raw) -> None:
    for method, where in (
        ("GET", "/storage/v1/b/none"),
        ("GET", "/storage/v1/b/none/o"),
        ("GET", "/storage/v1/b/none/o/x"),
    ):
        status, _, body = raw.ask(method, where)
        assert status == 404
        assert json.loads(body)["error"]["message"] == "The specified bucket does not exist."


def test_what_is_not_documented_is_refused(raw: Raw) -> None:
    assert raw.ask("GET", "/storage/v1/b/files/o?perfix=x")[0] == 400
    assert raw.ask("GET", "/storage/v1/b/files/o?fields=items(name")[0] == 400
    assert raw.ask("GET", "/storage/v1/b/files/o?pageToken=x")[0] == 400
    assert raw.ask("GET", "/storage/v1/b/files/o?maxResults=0")[0] == 400
    assert raw.put("x", query="colour=red")[0] == 400


def test_googles_client_gets_on_with_it(server: StrictGcs, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
    client = storage.Client(project="test", credentials=nobody)
    bucket = client.bucket("files")
    large = bytes(range(256)) * 4096 * 9
    with bucket.blob(f"{name}/large").open("wb", chunk_size=BLOCK * 8, if_generation_match=0, checksum="crc32c") as out:
        out.write(large)
    small = bucket.blob(f"{name}/small")
    small.upload_from_string(b"hello", content_type="text/plain", checksum="crc32c", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob(f"{name}/small").upload_from_string(b"again", if_generation_match=0)
    target = io.BytesIO()
    bucket.blob(f"{name}/large").download_to_file(target)
    assert target.getvalue() == large
    assert small.download_as_bytes(start=1, end=2) == b"el"
    listed = list(client.list_blobs("files", prefix=f"{name}/", page_size=1))
    assert [(blob.name, blob.size) for blob in listed] == [(f"{name}/large", len(large)), (f"{name}/small", 5)]
    with pytest.raises(PreconditionFailed):
        small.delete(if_generation_match=1)
    small.delete(if_generation_match=small.generation)
    with pytest.raises(NotFound):
        small.reload()
    client.close()
