"""The visitor's session over HTTP: visits, signing in and out, and what the cookie shows."""

import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.support.forms import FORM
from tests.support.http import Answer
from tests.support.product import Visitor
from tests.support.proxy import proxy
from tests.support.session_stores import at_once
from tests.support.stacks import Stack


@pytest.fixture
def visitor(stack: Stack) -> Iterator[Visitor]:
    with Visitor(stack.app_url) as somebody:
        yield somebody


def test_looking_creates_nothing(visitor: Visitor) -> None:
    answer = visitor.get("/api/session")
    assert answer.json["exists"] is False
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Vary"] == "Cookie"


def test_a_route_that_needs_no_session_says_nothing_of_it(visitor: Visitor) -> None:
    visitor.ask("POST", "/api/session/visits")
    answer = visitor.get("/api/instance")
    assert "Set-Cookie" not in answer.headers
    assert "Vary" not in answer.headers


def test_visits_are_counted(visitor: Visitor) -> None:
    assert [visitor.ask("POST", "/api/session/visits").json["visits"] for _ in range(3)] == [1, 2, 3]
    shown = visitor.get("/api/session").json
    assert (shown["exists"], shown["visits"], shown["name"]) == (True, 3, None)
    assert shown["created"].endswith("GMT")
    assert shown["expires"].endswith("GMT")


def test_no_visit_is_lost_when_many_come_at_once(stack: Stack, visitor: Visitor) -> None:
    visitor.ask("POST", "/api/session/visits")

    def visit(_: int) -> list[int]:
        with Visitor(stack.app_url) as twin:
            twin.cookies = dict(visitor.cookies)
            return [twin.ask("POST", "/api/session/visits").json["visits"] for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        counts = [count for counts in pool.map(visit, range(8)) for count in counts]
    assert sorted(counts) == list(range(2, 162))


def test_the_cookie_is_hidden_from_scripts_and_other_sites(visitor: Visitor) -> None:
    line = visitor.ask("POST", "/api/session/visits").headers["Set-Cookie"]
    assert line.startswith("session=")
    assert "HttpOnly" in line
    assert "SameSite=Lax" in line
    assert "Path=/" in line


def test_a_new_id_at_sign_in_and_the_old_one_opens_nothing(stack: Stack, visitor: Visitor) -> None:
    visitor.ask("POST", "/api/session/visits")
    before = dict(visitor.cookies)
    assert visitor.ask("PUT", "/api/session", name=" Ada ").json == {"name": "Ada"}
    assert visitor.cookies["session"] != before["session"]
    assert visitor.get("/api/session").json["visits"] == 1
    with Visitor(stack.app_url) as thief:
        thief.cookies = dict(before)
        assert thief.get("/api/session").json["exists"] is False


def test_signing_out_with_the_id_from_before_a_sign_in_ends_nothing(stack: Stack, visitor: Visitor) -> None:
    """A late click must not take the cookie away that the sign-in has just set."""
    visitor.ask("POST", "/api/session/visits")
    with Visitor(stack.app_url) as late:
        late.cookies = dict(visitor.cookies)
        visitor.ask("PUT", "/api/session", name="Ada")
        for _ in range(2):
            answer = late.ask("DELETE", "/api/session")
            assert (answer.status, answer.kind) == (409, "session-gone")
            assert "Set-Cookie" not in answer.headers
    assert visitor.get("/api/session").json["name"] == "Ada"


KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


@contextlib.contextmanager
def lost_sign_in(stack: Stack, visitor: Visitor, **options: Any) -> Iterator[None]:
    """Inside, the visitor has asked to sign in, the service has done it, and the response was lost on its way."""
    port = urlsplit(stack.app_url).port
    assert port is not None
    with proxy(port) as between, Visitor(f"http://127.0.0.1:{between.port}") as cut_off:
        cut_off.cookies = visitor.cookies
        between.cut = True
        with pytest.raises(ConnectionError):
            cut_off.ask(**options)
        yield


def api(name: str, key: dict[str, str]) -> dict[str, Any]:
    """A sign-in by the API, as ``ask`` takes it."""
    return {"method": "PUT", "path": "/api/session", "headers": key, "name": name}


def form(**fields: str) -> dict[str, Any]:
    """A sign-in by the page's form, as ``ask`` takes it."""
    sent = urlencode(fields).encode()
    return {"method": "POST", "path": "/forms/sign-in", "body": sent, "headers": FORM}


def key_in(page: Answer) -> str:
    found = re.search(r'name="key" value="([^"]+)"', page.body.decode())
    assert found
    return found[1]


def test_a_sign_in_whose_response_was_lost_can_be_repeated(stack: Stack, visitor: Visitor) -> None:
    """By the API and by the page's form; the visits and the files are kept, and the old id gains nothing."""
    for name in ("Ada", "Grace"):
        visitor.ask("POST", "/api/session/visits")
        visitor.put(name, b"x")
        before = dict(visitor.cookies)
        sign_in = api(name, KEY) if name == "Ada" else form(name=name, key=key_in(visitor.get("/")))
        with lost_sign_in(stack, visitor, **sign_in):
            assert visitor.cookies == before
            assert visitor.ask(**sign_in).status in (200, 303)
        after = dict(visitor.cookies)
        assert after != before
        with Visitor(stack.app_url) as thief:
            thief.cookies = dict(before)
            assert thief.get("/api/session").json["exists"] is False
            for key in ({}, KEY | {"Idempotency-Key": "a" * 22}):
                answer = thief.ask(**api("Mallory", key))
                assert (answer.status, answer.kind) == (409, "session-gone")
                assert "Set-Cookie" not in answer.headers
        assert visitor.ask(**sign_in).status in (200, 303), "a sign-in of its own, with the new id"
    shown = visitor.get("/api/session").json
    assert (shown["name"], shown["visits"]) == ("Grace", 2)
    assert [file["name"] for file in visitor.get("/api/files").json["files"]] == ["Ada", "Grace"]


def test_a_sign_in_without_a_key_can_not_be_repeated(stack: Stack, visitor: Visitor) -> None:
    visitor.ask("POST", "/api/session/visits")
    with lost_sign_in(stack, visitor, **api("Ada", {})):
        for key in ({}, KEY):
            answer = visitor.ask(**api("Ada", key))
            assert (answer.status, answer.kind) == (409, "session-gone")


def test_a_double_click_signs_in_once(stack: Stack, visitor: Visitor) -> None:
    visitor.ask("POST", "/api/session/visits")
    cookies: list[dict[str, str]] = []

    def sign_in() -> None:
        with Visitor(stack.app_url) as twin:
            twin.cookies = dict(visitor.cookies)
            assert twin.ask(**api("Ada", KEY)).status == 200
            cookies.append(twin.cookies)

    at_once(*[sign_in] * 8)
    assert all(found == cookies[0] != visitor.cookies for found in cookies)
    visitor.cookies = cookies[0]
    assert visitor.get("/api/session").json["visits"] == 1


def test_each_page_has_a_key_of_its_own(visitor: Visitor) -> None:
    keys = {key_in(visitor.get("/")) for _ in range(5)}
    assert len(keys) == 5


@pytest.mark.parametrize("key", ["", "short", "a" * 65, '"' + "a" * 22, "a" * 22 + '"', "é" * 22, "a" * 22 + "\xa0"])
def test_a_key_that_could_be_guessed_is_refused(visitor: Visitor, key: str) -> None:
    before = visitor.ask("POST", "/api/session/visits")
    for sign_in in (api("Ada", {"Idempotency-Key": key}), form(name="Ada", key=key)):
        answer = visitor.ask(**sign_in)
        assert (answer.status, answer.kind) == (400, "bad-idempotency-key")
        assert "Set-Cookie" not in answer.headers
    assert visitor.cookies["session"] in before.headers["Set-Cookie"]


def test_signing_out_ends_the_session_in_the_store(stack: Stack, visitor: Visitor) -> None:
    visitor.ask("PUT", "/api/session", name="Ada")
    before = dict(visitor.cookies)
    answer = visitor.ask("DELETE", "/api/session")
    assert (answer.status, answer.body) == (204, b"")
    assert visitor.cookies == {}
    with Visitor(stack.app_url) as thief:
        thief.cookies = dict(before)
        assert thief.get("/api/session").json["exists"] is False
        assert thief.ask("POST", "/api/session/visits").json["visits"] == 1
        assert thief.cookies["session"] != before["session"]


def test_signing_out_without_a_session_is_not_an_error(visitor: Visitor) -> None:
    assert visitor.ask("DELETE", "/api/session").status == 204


@pytest.mark.parametrize("cookie", ["", "x", "a" * 43, "a" * 4000, '"quoted"', "ä", "a" * 43 + "; session=" + "b" * 43])
def test_a_cookie_that_is_not_ours_is_like_none(visitor: Visitor, cookie: str) -> None:
    sent = {"Cookie": f"session={cookie}".encode().decode("latin-1")}
    assert visitor.ask("GET", "/api/session", headers=sent).json["exists"] is False
    answer = visitor.ask("POST", "/api/session/visits", headers=sent)
    assert answer.json["visits"] == 1
    assert not answer.headers["Set-Cookie"].startswith(f"session={cookie};")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"name": 1}', "application/json", 400),
        (b'{"name": ""}', "application/json", 400),
        (b'{"name": "a\\u0000"}', "application/json", 400),
        (b'{"name": "\\ud800"}', "application/json", 400),
        (b'{"name": "' + b"x" * 101 + b'"}', "application/json", 400),
        (b"[" * 15_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"name": "Ada"}', "text/plain", 415),
        (b" " * 17_000, "application/json", 413),
    ],
)
def test_a_bad_sign_in_is_refused_with_the_reason(
    visitor: Visitor, body: bytes, content_type: str, status: int
) -> None:
    answer = visitor.ask("PUT", "/api/session", body, {"Content-Type": content_type})
    assert answer.status == status
    assert answer.headers.get_content_type() == "application/problem+json"
    assert "Set-Cookie" not in answer.headers


def test_a_chunked_sign_in_needs_a_length(visitor: Visitor) -> None:
    answer = visitor.ask("PUT", "/api/session", iter([b'{"name": "Ada"}']), {"Content-Type": "application/json"})
    assert answer.status == 411
