"""A session in a Flask application: what it costs, what survives requests at once, and what the cookie may do."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.cookies import SimpleCookie
from typing import Literal
from uuid import UUID

import flask
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from service.sessions import current
from service.sessions.cookie import Cookie
from service.sessions.interface import (
    Session,
    SessionGone,
    SessionInterface,
    SessionTooLarge,
)
from service.sessions.store import Applied, Change, Record, Refusal, SessionStore, StoreUnavailable
from tests.support.session_stores import NAMES, Place, at_once, place

COOKIE = Cookie(secure=False, max_age=1)
STATUSES = {StoreUnavailable: 503, SessionGone: 409, SessionTooLarge: 413, TypeError: 500, ValueError: 500}


class CountingStore:
    """Counts what a store is asked; for memory, which has no server that could."""

    def __init__(self, store: SessionStore) -> None:
        self.name = store.name
        self.store = store
        self.count = 0

    def read(self, key: str) -> Record | None:
        self.count += 1
        return self.store.read(key)

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        self.count += 1
        return self.store.apply(key, change)

    def read_note(self, key: str) -> bytes | None:
        self.count += 1
        return self.store.read_note(key)

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        self.count += 1
        return self.store.delete(key)

    def check(self) -> None:
        self.store.check()

    def close(self) -> None:
        self.store.close()


@pytest.fixture(scope="module", params=NAMES)
def somewhere(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place(request.param) as found:
        # The first of each command teaches Redis its script, which costs one command more, once.
        store = found.open()
        store.apply("x", Change(create=True))
        store.read("x")
        yield found


@pytest.fixture
def app(somewhere: Place) -> Flask:
    store = somewhere.open(SESSION_MAX_BYTES="2000")
    if somewhere.name == "memory":
        counting = CountingStore(store)
        somewhere.commands = lambda: counting.count
        store = counting
    return make_app(store, somewhere)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def session() -> Session:
    found = flask.session._get_current_object()  # type: ignore[attr-defined] # the proxy's own way to show what it stands for
    assert isinstance(found, Session)
    found.accessed = True
    return found


def as_problem(error: Exception) -> Response:
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    return Response(json.dumps({"problem": str(error)}), status, content_type="application/problem+json")


def make_app(store: SessionStore, somewhere: Place) -> Flask:
    app = Flask(__name__)
    app.session_interface = SessionInterface(store, somewhere.settings(SESSION_MAX_BYTES="2000"), on_error=as_problem)
    for kind in STATUSES:
        app.register_error_handler(kind, as_problem)
    app.extensions["hooks"] = {}  # what a test wants done in the middle of a request

    @app.get("/untouched")
    def untouched() -> str:
        return "nothing"

    @app.get("/all")
    def all_values() -> Response:
        return flask.jsonify({"exists": session().exists, "values": dict(session()), "n": dict(session().counters)})

    @app.post("/set/<name>")
    def set_value(name: str) -> str:
        session()[name] = flask.request.get_json()
        return "ok"

    @app.post("/touch/<name>")
    def read_then_set(name: str) -> str:
        value = session().get(name)
        app.extensions["hooks"].get("between", lambda: None)()
        session()[name] = flask.request.get_json()
        return repr(value)

    @app.post("/append/<name>")
    def append(name: str) -> str:
        session()[name].append(flask.request.get_json())
        return "ok"

    @app.post("/drop/<name>")
    def drop(name: str) -> str:
        del session()[name]
        return "ok"

    @app.post("/visit")
    def visit() -> str:
        return str(session().increment("visits"))

    @app.post("/renew")
    def renew() -> str:
        session().renew(flask.request.headers.get("X-Secret", ""))
        session()["name"] = "Ada"
        return "ok"

    @app.post("/end")
    def end() -> str:
        session().end()
        return "ok"

    @app.post("/do")
    def do() -> str:
        return str(app.extensions["hooks"]["do"](session()))

    return app


def do(client: FlaskClient, what: Callable[[Session], object]) -> tuple[int, str]:
    """Do something with the session inside a request of its own."""
    client.application.extensions["hooks"]["do"] = what
    answer = client.post("/do")
    return answer.status_code, answer.text


def cookie(client: FlaskClient) -> str | None:
    found = client.get_cookie("session")
    return None if found is None else found.value


def show(client: FlaskClient) -> dict[str, object]:
    found: dict[str, object] = client.get("/all").get_json()
    return found


def with_cookie(app: Flask, value: str | None) -> FlaskClient:
    client = app.test_client()
    if value is not None:
        client.set_cookie("session", value)
    return client


# What it costs


def test_an_untouched_session_costs_nothing_and_shows_nowhere(somewhere: Place, client: FlaskClient) -> None:
    client.post("/visit")
    before = somewhere.commands()
    for _ in range(5):
        answer = client.get("/untouched")
        assert "Set-Cookie" not in answer.headers
        assert "Vary" not in answer.headers
    assert somewhere.commands() == before


def test_a_visitor_without_a_cookie_costs_nothing_until_something_is_written(
    somewhere: Place, client: FlaskClient
) -> None:
    before = somewhere.commands()
    answer = client.get("/all")
    assert answer.get_json() == {"exists": False, "values": {}, "n": {}}
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Vary"] == "Cookie"
    assert somewhere.commands() == before
    assert client.post("/set/a", json=1).headers["Vary"] == "Cookie"
    assert somewhere.commands() == before + 1
    assert cookie(client)


def test_a_read_is_one_command_and_a_write_one_more(somewhere: Place, client: FlaskClient) -> None:
    client.post("/set/a", json=1)
    before = somewhere.commands()
    assert show(client) == {"exists": True, "values": {"a": 1}, "n": {}}
    assert somewhere.commands() == before + 1
    client.post("/touch/a", json=2)
    assert somewhere.commands() == before + 3
    client.post("/touch/a", json=2)
    assert somewhere.commands() == before + 4, "nothing changed, nothing is written"


def test_a_visit_is_one_step_without_a_read(somewhere: Place, client: FlaskClient) -> None:
    client.post("/visit")
    before = somewhere.commands()
    assert client.post("/visit").text == "2"
    # Memcached has no step that depends on what is there: it is read, then swapped if nobody was faster.
    assert somewhere.commands() == before + (2 if somewhere.name == "memcached" else 1)


def test_current_is_the_session_of_the_request(app: Flask, somewhere: Place) -> None:
    with app.test_request_context("/"):
        before = somewhere.commands()
        found = current()
        assert somewhere.commands() == before
        assert found.increment("n") == 1
        found["a"] = 1
        assert flask.session["a"] == 1
    with pytest.raises(RuntimeError):
        current().renew()


def test_reading_sends_no_cookie_again(client: FlaskClient) -> None:
    assert "Set-Cookie" in client.post("/visit").headers
    assert "Set-Cookie" not in client.post("/visit").headers
    assert "Set-Cookie" not in client.get("/all").headers


def test_a_response_with_a_cookie_is_not_for_caches(client: FlaskClient) -> None:
    assert client.post("/visit").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in client.post("/visit").headers


# What a session holds


def test_values_keep_their_types(client: FlaskClient) -> None:
    values = {
        "tuple": (1, "a", None),
        "bytes": b"\x00\xff",
        "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "uuid": UUID(int=7),
        "nested": {"a": [1.5, {"b": (True,)}]},
        " t": "a name that looks like a tag",
    }
    assert do(client, lambda s: s.update(values))[0] == 200
    assert do(client, lambda s: dict(s) == values) == (200, "True")


def test_a_value_that_is_changed_in_place_is_noticed(somewhere: Place, client: FlaskClient) -> None:
    client.post("/set/list", json=[1])
    client.post("/append/list", json=2)
    assert show(client)["values"] == {"list": [1, 2]}
    before = somewhere.commands()
    do(client, lambda s: s["list"])
    assert somewhere.commands() == before + 1, "looking at a list is no change"


def test_only_what_changed_is_sent(client: FlaskClient, app: Flask) -> None:
    """Another request changed another value between this one's read and its write: both are there."""
    client.post("/set/left", json=1)
    client.post("/set/right", json=1)
    app.extensions["hooks"]["between"] = lambda: with_cookie(app, cookie(client)).post("/set/right", json=2)
    client.post("/touch/left", json=2)
    assert show(client)["values"] == {"left": 2, "right": 2}


def test_a_session_is_a_mapping(client: FlaskClient) -> None:
    client.post("/set/a", json=1)

    def use(s: Session) -> None:
        assert "a" in s
        assert "b" not in s
        assert len(s) == 1
        assert list(s) == ["a"]
        s["b"] = 2
        assert s == {"a": 1, "b": 2}
        assert s.pop("a") == 1
        assert "a" not in s
        assert s.setdefault("c", 3) == 3
        assert s.get("a") is None
        with pytest.raises(KeyError):
            s["a"]
        with pytest.raises(KeyError):
            del s["a"]
        with pytest.raises(TypeError):
            s[1] = 2  # type: ignore[index] # wrong on purpose

    assert do(client, use) == (200, "None")
    assert show(client)["values"] == {"b": 2, "c": 3}
    do(client, lambda s: s.clear())
    assert show(client) == {"exists": True, "values": {}, "n": {}}


def test_a_value_that_was_set_unread_and_deleted_is_deleted(client: FlaskClient) -> None:
    client.post("/set/a", json=1)

    def use(s: Session) -> None:
        s["a"] = 2
        del s["a"]

    do(client, use)
    assert show(client)["values"] == {}


def test_counters_and_times_are_shown(client: FlaskClient) -> None:
    client.post("/visit")

    def use(s: Session) -> bool:
        assert s.increment("visits", by=5) == 6
        assert s.counters == {"visits": 6}
        assert s.created is not None
        assert s.expires is not None
        return s.expires - s.created > 3600

    assert do(client, use) == (200, "True")
    assert do(client, lambda s: s.increment("visits", by=-10)) == (200, "0")


def test_a_step_is_seen_by_what_is_read_after_it(client: FlaskClient) -> None:
    client.post("/set/a", json=1)

    def use(s: Session) -> None:
        assert dict(s) == {"a": 1}
        assert isinstance(s.step(Change(set={"b": b"2"}, delete=frozenset("x"), add={"n": 1})), Applied)
        assert dict(s) == {"a": 1, "b": 2}
        assert s.counters["n"] == 1

    assert do(client, use) == (200, "None")


def test_a_limit_is_kept(client: FlaskClient) -> None:
    def use(s: Session) -> None:
        assert s.step(Change(add={"n": 3}, at_most={"n": 3}, create=True)) == Applied({"n": 3})
        assert s.step(Change(add={"n": 1}, at_most={"n": 3})) is Refusal.OVER_LIMIT

    assert do(client, use) == (200, "None")


def test_a_step_that_begins_nothing_says_so(client: FlaskClient) -> None:
    assert do(client, lambda s: s.step(Change(add={"n": 1}))) == (200, "Refusal.GONE")
    assert cookie(client) is None


def test_a_session_that_is_too_large_is_an_error_with_its_size_and_the_old_one_stays(client: FlaskClient) -> None:
    client.post("/set/a", json="old")
    before = cookie(client)
    answer = client.post("/set/a", json="x" * 3000)
    assert answer.status_code == 413
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["problem"] == "The session would hold 3003 bytes; it may hold 2000."
    assert show(client)["values"] == {"a": "old"}
    assert cookie(client) == before


def test_a_new_session_that_is_too_large_is_not_begun(client: FlaskClient) -> None:
    answer = client.post("/set/a", json="x" * 3000)
    assert answer.status_code == 413
    assert "Set-Cookie" not in answer.headers


def test_an_increment_that_does_not_fit_is_an_error(client: FlaskClient) -> None:
    assert do(client, lambda s: s.increment("n" * 3000))[0] == 413


def test_text_takes_the_room_of_its_utf_8(client: FlaskClient) -> None:
    text = "\u8a9e" * 600  # three bytes each
    assert client.post("/set/a", json=text).status_code == 200
    assert show(client)["values"] == {"a": text}


@pytest.mark.parametrize("value", [object(), "\ud800"], ids=["object", "half a character"])
def test_a_value_that_is_not_json_is_an_error(client: FlaskClient, value: object) -> None:
    assert do(client, lambda s: s.update(a=value))[0] == 500
    assert show(client)["exists"] is False


# New ids, and the end


def test_a_new_id_at_sign_in_and_the_old_one_opens_nothing(app: Flask, client: FlaskClient) -> None:
    client.post("/set/basket", json=[1])
    old = cookie(client)
    client.post("/renew")
    assert cookie(client) != old
    assert show(client)["values"] == {"basket": [1], "name": "Ada"}
    assert show(with_cookie(app, old)) == {"exists": False, "values": {}, "n": {}}


def test_a_new_id_is_taken_by_the_first_step_already(app: Flask, client: FlaskClient) -> None:
    client.post("/visit")
    old = cookie(client)

    def use(s: Session) -> int:
        s.renew()
        return s.increment("visits")

    assert do(client, use) == (200, "2")
    assert cookie(client) != old
    assert show(with_cookie(app, old))["exists"] is False


def test_renewing_without_a_session_begins_none(client: FlaskClient) -> None:
    assert do(client, lambda s: s.renew()) == (200, "None")
    assert cookie(client) is None


def test_signing_out_ends_it_in_the_store_before_the_response(app: Flask, client: FlaskClient) -> None:
    client.post("/set/a", json=1)
    old = cookie(client)

    def use(s: Session) -> object:
        s["b"] = 2
        s.end()
        return show(with_cookie(app, old))["exists"]

    assert do(client, use) == (200, "False")
    assert cookie(client) is None


def test_after_the_end_a_write_begins_a_new_session(app: Flask, client: FlaskClient) -> None:
    client.post("/set/a", json=1)
    old = cookie(client)

    def use(s: Session) -> None:
        s.end()
        assert not s.exists
        s["b"] = 2

    do(client, use)
    assert cookie(client) not in (None, old)
    assert show(client)["values"] == {"b": 2}
    assert show(with_cookie(app, old))["exists"] is False


def test_a_planted_id_is_never_used(app: Flask) -> None:
    """Session fixation: whoever planted the cookie must not share what is written under it."""
    planted = SimpleCookie(_written(b"p" * 32))["session"].value
    victim = with_cookie(app, planted)
    assert victim.post("/visit").text == "1"
    assert cookie(victim) != planted
    assert show(with_cookie(app, planted))["exists"] is False
    victim = with_cookie(app, planted)
    victim.post("/touch/a", json=1)
    assert cookie(victim) != planted
    victim = with_cookie(app, planted)
    victim.post("/renew")
    assert cookie(victim) != planted


def _written(session_id: bytes) -> str:
    response = Response()
    COOKIE.write(response, session_id)
    return response.headers["Set-Cookie"]


@pytest.mark.parametrize("value", ["", "x", "A" * 42, "A" * 44, "A" * 4000, '"A"', "1." + "A" * 43])
def test_a_cookie_that_is_not_ours_costs_nothing_and_is_like_none(somewhere: Place, app: Flask, value: str) -> None:
    client = with_cookie(app, value)
    before = somewhere.commands()
    assert show(client)["exists"] is False
    assert somewhere.commands() == before
    assert client.post("/visit").text == "1"


def test_a_repeated_cookie_is_like_none(app: Flask, client: FlaskClient) -> None:
    client.post("/visit")
    header = f"session={cookie(client)}"
    plain = app.test_client(use_cookies=False)
    assert plain.get("/all", headers={"Cookie": header}).get_json()["exists"] is True
    for twice in (f"{header}; {header}", f"session=x; {header}", f"{header}; session=x"):
        assert plain.get("/all", headers={"Cookie": twice}).get_json()["exists"] is False


# In flight while the session ends or moves


def between(app: Flask, act: Callable[[], object]) -> None:
    app.extensions["hooks"]["between"] = act


@pytest.mark.parametrize("how", ["/end", "/renew"])
def test_a_request_in_flight_can_not_bring_the_session_back(app: Flask, client: FlaskClient, how: str) -> None:
    client.post("/set/a", json=1)
    other = with_cookie(app, cookie(client))
    between(app, lambda: other.post(how))
    answer = client.post("/touch/a", json=2)
    assert answer.status_code == 409
    assert "Set-Cookie" not in answer.headers, "it could overwrite the cookie that the other answer set"
    assert show(with_cookie(app, cookie(client)))["exists"] is False
    assert show(other)["values"] == ({} if how == "/end" else {"a": 1, "name": "Ada"})


def test_a_request_that_comes_late_with_the_old_id_does_not_overwrite_the_new_one(
    app: Flask, client: FlaskClient
) -> None:
    """It was on its way while the session got a new id. A session of its own would sign the visitor out."""
    client.post("/visit")
    other = with_cookie(app, cookie(client))
    other.post("/renew")
    for late in (client.post("/visit"), client.post("/set/a", json=1), client.post("/touch/a", json=1)):
        assert late.status_code == 409
        assert "Set-Cookie" not in late.headers
    assert show(other)["n"] == {"visits": 1}


def test_a_session_that_ended_before_a_request_used_it_is_like_none(app: Flask, client: FlaskClient) -> None:
    client.post("/visit")
    old = cookie(client)
    with_cookie(app, old).post("/end")
    assert client.post("/visit").text == "1"
    assert cookie(client) != old


SECRET = "s" * 32


def sign_in(client: FlaskClient, secret: str, name: str = "Ada") -> int:
    """Change the privilege, in a step that also counts. The status."""

    def use(s: Session) -> None:
        assert "read before" not in s
        s.renew(secret)
        s.step(Change(set={"name": json.dumps(name).encode()}, add={"sign-ins": 1}))
        assert s.get("name") == name
        assert s.counters == {"visits": 1, "sign-ins": 1}

    return do(client, use)[0]


def test_a_move_is_repeated_for_the_old_id_with_the_secret_and_not_for_the_old_id_alone(
    app: Flask, client: FlaskClient
) -> None:
    """The first response is lost: ``client`` goes on with the old id."""
    client.post("/visit")
    old = cookie(client)
    first, thief = with_cookie(app, old), with_cookie(app, old)
    assert sign_in(first, SECRET) == 200
    for secret in ("", "t" * 32, SECRET[1:]):
        assert sign_in(thief, secret, "Mallory") == 409
        assert cookie(thief) == old
    assert show(thief)["exists"] is False
    assert sign_in(client, SECRET) == 200
    assert cookie(client) == cookie(first) != old
    assert show(client) == {"exists": True, "values": {"name": "Ada"}, "n": {"visits": 1, "sign-ins": 1}}


def test_a_move_is_not_repeated_once_the_session_has_gone_on(app: Flask, client: FlaskClient) -> None:
    client.post("/visit")
    late = with_cookie(app, cookie(client))
    assert sign_in(client, SECRET) == 200
    client.post("/renew")
    assert sign_in(late, SECRET, "late") == 409
    client.post("/end")
    assert sign_in(late, SECRET, "late") == 409
    assert show(late)["exists"] is False


def test_moves_at_once_with_one_secret_give_one_id(app: Flask, client: FlaskClient) -> None:
    client.post("/visit")
    clients = [with_cookie(app, cookie(client)) for _ in range(8)]

    def renew(mine: FlaskClient) -> None:
        assert mine.post("/renew", headers={"X-Secret": SECRET}).status_code == 200

    at_once(*[partial(renew, mine) for mine in clients])
    assert len({cookie(mine) for mine in clients}) == 1
    assert show(clients[0])["n"] == {"visits": 1}


def test_every_use_after_the_end_says_so(app: Flask, client: FlaskClient) -> None:
    client.post("/visit")
    other = with_cookie(app, cookie(client))

    def use(s: Session) -> None:
        s.increment("visits")
        other.post("/end")
        for _ in range(2):
            with pytest.raises(SessionGone):
                s.step(Change(add={"visits": 1}))
        with pytest.raises(SessionGone):
            s.increment("visits")

    assert do(client, use) == (200, "None")


def test_what_a_request_counted_before_it_failed_is_not_lost(app: Flask, client: FlaskClient) -> None:
    """The session was begun, so its cookie is sent, though the write at the end was refused."""

    def use(s: Session) -> None:
        s.increment("visits")
        s["a"] = "x" * 3000

    assert do(client, use)[0] == 413
    assert show(client) == {"exists": True, "values": {}, "n": {"visits": 1}}


def test_threads_of_one_visitor_lose_no_visit(app: Flask, client: FlaskClient) -> None:
    client.post("/visit")
    value = cookie(client)

    def visit() -> None:
        mine = with_cookie(app, value)
        for _ in range(5):
            assert mine.post("/visit").status_code == 200

    at_once(*[visit] * 16)
    assert show(client)["n"] == {"visits": 81}


# Flask's own ways


def test_a_tests_session_transaction_works(client: FlaskClient) -> None:
    with client.session_transaction() as held:
        held["a"] = 1
    assert show(client)["values"] == {"a": 1}


def test_a_replaced_response_keeps_the_security_headers_and_closes_the_body(app: Flask, client: FlaskClient) -> None:
    closed = threading.Event()

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"secret"])

        def close(self) -> None:
            closed.set()

    @app.get("/stream")
    def stream() -> Response:
        session()["a"] = "x" * 3000
        headers = {"ETag": '"1"', "Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
        return Response(Body(), headers=headers, content_type="image/png", direct_passthrough=True)

    answer = client.get("/stream")
    assert answer.status_code == 413
    assert "problem" in answer.get_json()
    assert closed.is_set()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Length"] == str(len(answer.data))
    assert answer.headers.getlist("Content-Type") == ["application/problem+json"]
    assert "ETag" not in answer.headers
    assert "Content-Disposition" not in answer.headers


def test_without_a_response_for_it_the_error_leaves_the_application(somewhere: Place) -> None:
    app = make_app(somewhere.open(SESSION_MAX_BYTES="2000"), somewhere)
    app.session_interface = SessionInterface(
        somewhere.open(SESSION_MAX_BYTES="2000"), somewhere.settings(SESSION_MAX_BYTES="2000")
    )
    app.testing = True
    with pytest.raises(SessionTooLarge):
        app.test_client().post("/set/a", json="x" * 3000)
