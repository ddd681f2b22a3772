"""Requests for files are counted by their status, and only the bytes of a file that were read."""

from pathlib import Path

from tests.metrics.test_life import NO_ROUTE, Kind, ask_each, assert_counted, total
from tests.support.product import Visitor, running_product

FILE = "/api/files/<anything:name>"
KINDS: list[Kind] = [
    ("GET", "/", "/", {}, None, 200),
    ("PUT", "/api/session", "/api/session", {"Content-Type": "application/json"}, b'{"name": "Ada"}', 200),
    ("POST", "/api/session/visits", "/api/session/visits", {}, None, 200),
    ("GET", "/api/files?prefix=k", "/api/files", {}, None, 200),
    ("PUT", "/api/files/known", FILE, {}, b"x" * 1000, 200),
    ("PUT", "/api/files/known", FILE, {"If-None-Match": "*"}, b"x" * 1000, 412),
    ("PUT", "/api/files/a%2Fb", FILE, {}, b"x", 400),
    ("GET", "/api/files/known", FILE, {}, None, 200),
    ("GET", "/api/files/known", FILE, {"Range": "bytes=0-9"}, None, 206),
    ("GET", "/api/files/known", FILE, {"Range": "bytes=5000-"}, None, 416),
    ("GET", "/api/files/known", FILE, {"If-None-Match": "*"}, None, 304),
    ("HEAD", "/api/files/known", FILE, {}, None, 200),
    ("DELETE", "/api/files/unknown", FILE, {}, None, 404),
    ("DELETE", "/", NO_ROUTE, {}, None, 405),
]


def test_each_kind_of_request_is_counted_and_what_it_did(tmp_path: Path) -> None:
    with running_product(tmp_path) as service:
        with Visitor(service.app_url) as visitor:
            assert visitor.put("known", b"x" * 1000).status == 201
            expected = ask_each(visitor, KINDS) | {("PUT", FILE, "201"): 1.0}
        assert_counted(service, expected)
        stored = 1 + expected["PUT", FILE, "200"]
        read, parts = expected["GET", FILE, "200"], expected["GET", FILE, "206"]
        assert total(service, "storage_transferred_bytes_total", direction="in") == stored * 1000
        assert total(service, "storage_transferred_bytes_total", direction="out") == read * 1000 + parts * 10
        assert total(service, "sessions_created_total") == 1
        assert total(service, "dependency_operation_duration_seconds_count", operation="put", outcome="ok") == stored
