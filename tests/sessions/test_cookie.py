"""The session cookie: what is taken for one of ours, and how it is written."""

from base64 import urlsafe_b64encode

import pytest
from werkzeug import Response

from service.sessions.cookie import Cookie, key_of, new_id

COOKIE = Cookie(secure=False, max_age=3600)
ID = bytes(range(32))
VALUE = urlsafe_b64encode(ID).rstrip(b"=").decode()


def written(cookie: Cookie, session_id: bytes) -> str:
    response = Response()
    cookie.write(response, session_id)
    return response.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "header", [f"session={VALUE}", f"a=b; session={VALUE}; c=d", f"session={VALUE};x", f" session = {VALUE} "]
)
def test_our_cookie_is_found(header: str) -> None:
    assert COOKIE.read(header) == ID


@pytest.mark.parametrize(
    "header",
    [
        "",
        "session",
        "session=",
        f"Session={VALUE}",
        f"xsession={VALUE}",
        f"__Host-session={VALUE}",
        f'session="{VALUE}"',
        f"session={VALUE}=",
        f"session={VALUE[:-1]}",
        f"session={VALUE}A",
        f"session={VALUE[:-1]}9",  # the same bits, spelt otherwise
        f"session={VALUE[:-1]}+",
        f"session={VALUE[:-1]}é",
        f"session=1.{VALUE}",
        f"session={VALUE}.signature",
        f"session={'A' * 100_000}",
    ],
)
def test_what_we_never_gave_out_is_like_none(header: str) -> None:
    assert COOKIE.read(header) is None


@pytest.mark.parametrize("byte", range(256))
def test_only_space_and_tab_may_stand_around_the_name(byte: int) -> None:
    """Else a sister subdomain could plant ``\\xa0__Host-session``, which no browser takes for a ``__Host-`` cookie."""
    cookie = Cookie(secure=True, max_age=3600)
    # WSGI hands a header's bytes on as latin-1 (PEP 3333).
    text = bytes([byte]).decode("latin-1")
    expected = ID if text in (" ", "\t") else None
    before = ID if text == ";" else expected  # it ends what stands before it
    assert cookie.read(f"{text}__Host-session={VALUE}") == before
    assert cookie.read(f"a=b;{text}__Host-session={VALUE}") == before
    assert cookie.read(f"__Host-session{text}={VALUE}") == expected
    if text not in (" ", "\t", ";"):
        assert cookie.read(f"__Host-session={VALUE}{text}") is None
        assert cookie.read(f"__Host-session={text}{VALUE}") is None


@pytest.mark.parametrize("between", ["; ", ";", ",", "; other=1; "])
def test_a_repeated_cookie_is_like_none(between: str) -> None:
    """Somebody planted a second one, for another path or a parent domain: which is ours can't be told."""
    assert COOKIE.read(f"session={VALUE}{between}session={VALUE}") is None
    assert COOKIE.read(f"session={VALUE}{between}session=x") is None


def test_an_id_comes_back_as_it_went_out() -> None:
    for _ in range(200):
        session_id = new_id()
        assert COOKIE.read(written(COOKIE, session_id).partition(";")[0]) == session_id


def test_the_cookie_is_for_this_host_only_and_hidden_from_scripts() -> None:
    line = written(Cookie(secure=True, max_age=2_592_000.5), ID)
    attributes = {f"__Host-session={VALUE}", "Secure", "HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax"}
    assert attributes <= set(line.split("; "))
    assert "Domain" not in line


def test_without_tls_the_cookie_has_no_prefix_that_browsers_would_refuse() -> None:
    line = written(COOKIE, ID)
    assert line.startswith("session=")
    assert "Secure" not in line


def test_a_cookie_is_removed_with_the_attributes_it_was_set_with() -> None:
    response = Response()
    Cookie(secure=True, max_age=1).remove(response)
    line = response.headers["Set-Cookie"]
    assert line.startswith("__Host-session=;")
    assert {"Max-Age=0", "Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(line.split("; "))


def test_the_stores_key_does_not_tell_the_id() -> None:
    assert key_of(ID) == "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
    assert VALUE not in key_of(ID)
    assert len({key_of(new_id()) for _ in range(100)}) == 100
