"""What responses say of objects, as headers and as JSON. And when they say nothing that can be believed."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from google.auth.credentials import AnonymousCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from service.storage.gcs import GcsClient, GcsStore
from service.storage.gcs.download import from_headers
from service.storage.store import ObjectInfo, ObjectPage, OutcomeUnknown, StorageMisconfigured

GOOD = {
    "Content-Type": "text/plain",
    "Last-Modified": "Wed, 25 Nov 2026 13:31:55 GMT",
    "X-Goog-Generation": "7",
    "X-Goog-Hash": "crc32c=AAAAAQ==, md5=1B2M2Y8AsgTpgAmY7PhCfg==",
    "X-Goog-Stored-Content-Length": "5",
}


def test_good_headers_describe_the_object() -> None:
    assert from_headers("a", GOOD) == ObjectInfo("a", 5, "text/plain", 7, 1, 1795613515.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Last-Modified", "Wed, 25 Nov 99999999999999999999 13:31:55 GMT"),
        ("Last-Modified", "yesterday"),
        ("X-Goog-Generation", "7, 8"),
        ("X-Goog-Hash", "crc32c="),
        ("X-Goog-Hash", "crc32c=AAAAAAAAAAAA"),
        ("X-Goog-Hash", "crc32c=?"),
        ("X-Goog-Hash", "md5=1B2M2Y8AsgTpgAmY7PhCfg=="),
        ("X-Goog-Stored-Content-Length", "-5"),
        ("X-Goog-Stored-Content-Length", "5, 5"),
    ],
)
def test_headers_that_make_no_sense_describe_nothing(field: str, value: str) -> None:
    assert from_headers("a", GOOD | {field: value}) is None


@pytest.mark.parametrize("field", sorted(GOOD.keys() - {"Content-Type"}))
def test_headers_that_are_missing_describe_nothing(field: str) -> None:
    assert from_headers("a", {name: value for name, value in GOOD.items() if name != field}) is None


RESOURCE = {"name": "a/b", "size": "5", "generation": "7", "crc32c": "AAAAAQ==", "updated": "2026-11-25T13:31:55Z"}
KIND = {"kind": "storage#objects"}
LISTED = ObjectInfo("b", 5, "application/octet-stream", 7, 1, 1795613515.0)


class Says:
    """A server that has one response, ``text``, for everything; and a store that takes it for Google's."""

    def __init__(self) -> None:
        self.text = ""
        says = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = says.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
        url = f"http://127.0.0.1:{self.server.server_port}"
        self.store = GcsStore(GcsClient("files", endpoint=url, credentials=nobody), prefix="a")

    def list(self, listing: object) -> ObjectPage:
        self.text = json.dumps(listing)
        return self.store.list("", page_token=None, limit=10)


@pytest.fixture(scope="module")
def says() -> Iterator[Says]:
    running = Says()
    thread = threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.store.close()
    running.server.shutdown()
    running.server.server_close()
    thread.join(20)


@pytest.mark.parametrize(
    ("listing", "page"),
    [
        (KIND, ObjectPage([], None)),
        (KIND | {"items": [RESOURCE]}, ObjectPage([LISTED], None)),
        (KIND | {"items": [RESOURCE | {"contentType": "text/plain"}], "nextPageToken": "more"},
         ObjectPage([ObjectInfo("b", 5, "text/plain", 7, 1, 1795613515.0)], "more")),
    ],
)  # fmt: skip
def test_a_listing_is_a_page(says: Says, listing: object, page: ObjectPage) -> None:
    assert says.list(listing) == page


@pytest.mark.parametrize(
    "listing",
    [
        None, [], "x", 5, {}, {"items": []}, {"items": [RESOURCE]}, {"kind": "storage#object"},
        KIND | {"items": None}, KIND | {"items": 5}, KIND | {"items": ["x"]}, KIND | {"items": [{}]},
        KIND | {"items": {"a": 1}},
        KIND | {"items": [RESOURCE | {"name": None}]},
        KIND | {"items": [RESOURCE | {"size": float("inf")}]},
        KIND | {"items": [RESOURCE | {"size": "-5"}]},
        KIND | {"items": [RESOURCE | {"size": "0"}]},
        KIND | {"items": [RESOURCE | {"updated": "yesterday"}]},
    ],
)  # fmt: skip
def test_a_response_that_is_not_a_listing_is_told(says: Says, listing: object) -> None:
    with pytest.raises(StorageMisconfigured, match="not an object store"):
        says.list(listing)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RESOURCE, "items"]), inner),
)


@given(JSON)
@settings(deadline=None)
def test_no_response_breaks_it(says: Says, response: object) -> None:
    for listing in (response, KIND | {"items": response}, KIND | {"items": [response]}):
        with contextlib.suppress(StorageMisconfigured):
            assert isinstance(says.list(listing), ObjectPage)


@given(JSON)
@settings(deadline=None)
def test_no_response_to_an_upload_or_a_look_breaks_it(says: Says, response: object) -> None:
    says.text = json.dumps(response)
    with pytest.raises(OutcomeUnknown, match="not an object store"):
        says.store.put("b", iter([b""]), content_type="text/plain", generation=0)
    with pytest.raises(StorageMisconfigured, match="not an object store"):
        says.store.stat("b")
