"""What answers say of objects: a download's headers, a listing. And when they say nothing that can be believed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.storage.gcs.describe import from_headers, page_from
from service.storage.store import ObjectInfo, Page, StorageMisconfigured

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
LISTED = ObjectInfo("b", 5, "application/octet-stream", 7, 1, 1795613515.0)


@pytest.mark.parametrize(
    ("listing", "page"),
    [
        ({}, Page([], None)),
        ({"items": [RESOURCE]}, Page([LISTED], None)),
        ({"items": [RESOURCE | {"contentType": "text/plain"}], "nextPageToken": "more"},
         Page([ObjectInfo("b", 5, "text/plain", 7, 1, 1795613515.0)], "more")),
    ],
)  # fmt: skip
def test_a_listing_is_a_page(listing: object, page: Page) -> None:
    assert page_from(listing, skip=2) == page


@pytest.mark.parametrize(
    "listing",
    [
        None, [], "x", 5,
        {"items": None}, {"items": 5}, {"items": ["x"]}, {"items": [{}]}, {"items": {"a": 1}},
        {"items": [RESOURCE | {"name": None}]},
        {"items": [RESOURCE | {"size": float("inf")}]},
        {"items": [RESOURCE | {"updated": "yesterday"}]},
    ],
)  # fmt: skip
def test_what_is_no_listing_is_told(listing: object) -> None:
    with pytest.raises(StorageMisconfigured, match="no object store"):
        page_from(listing, skip=0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RESOURCE, "items"]), inner),
)


@given(JSON)
def test_no_answer_breaks_it(answer: object) -> None:
    for listing in (answer, {"items": answer}, {"items": [answer]}):
        with contextlib.suppress(StorageMisconfigured):
            assert isinstance(page_from(listing, skip=0), Page)
