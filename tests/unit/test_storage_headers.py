"""What a download's headers say of the object, and when they say nothing that can be believed."""

import pytest

from service.storage.gcs.describe import from_headers
from service.storage.store import ObjectInfo

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
