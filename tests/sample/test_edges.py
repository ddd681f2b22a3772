"""The edges of the sample: guarded as every answer is, and described as it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.http.test_openapi import assert_described
from tests.support.edges import assert_guarded, assert_problem, find_nothing
from tests.support.product import Visitor, running_product, running_product_stack
from tests.support.stacks import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The edges are the same on every store."""
    with running_product_stack("memory") as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/api/status", 200),
        ("GET", "/static/x/page.css", 200),
        ("GET", "/api/session", 200),
        ("GET", "/api/files/none", 404),
    ],
)
def test_every_response_has_security_headers_and_every_error_is_a_problem(
    stack: Stack, method: str, path: str, status: int
) -> None:
    with Visitor(stack.app_url) as visitor:
        answer = visitor.ask(method, path)
    assert answer.status == status
    assert_guarded(answer)
    if status >= 400:
        assert_problem(answer, path)


def test_no_cache_keeps_a_response(stack: Stack) -> None:
    with Visitor(stack.app_url) as visitor:
        assert visitor.get("/api/session").headers["Cache-Control"] == "no-store"


def test_a_quota_that_is_used_up_is_not_an_error_in_the_log(tmp_path: Path) -> None:
    with running_product(tmp_path, MAX_FILES="0") as service, Visitor(service.app_url) as visitor:
        assert visitor.put("a", b"x").status == 507
        record = service.wait_for(lambda r: r.get("httpRequest", {}).get("status") == 507)
    assert record["severity"] == "WARNING"


def test_the_description_is_valid(stack: Stack) -> None:
    with Visitor(stack.app_url) as visitor:
        validate(visitor.get("/openapi.json").json)


def test_every_route_is_described_and_every_description_has_its_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_described(tmp_path, "service.sample", monkeypatch)


def test_schemathesis_finds_nothing(stack: Stack, tmp_path: Path) -> None:
    find_nothing(stack.app_url, Path(__file__).with_name("schemathesis.toml"), tmp_path)
