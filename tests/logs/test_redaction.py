"""Secrets are found by name, by shape and by value, in time that grows linearly with the text."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.logs import redaction as module
from service.logs.redaction import REDACTED, is_secret_name, redact, redact_url, remember

CANARY = "c4n4ry-Zx81-value"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLWl0"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    remember()


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: Digest username=x, response={CANARY}",
        f"proxy-authorization: {CANARY} and more",
        f"Cookie: a=b; session={CANARY}; c=d",
        f"Set-Cookie: __Host-session={CANARY}; HttpOnly",
        f"session={CANARY}",
        f"__Host-session={CANARY}; Path=/",
        f"got Bearer {CANARY} from somewhere",
        f"BEARER  {CANARY}",
        "got Basic dXNlcjpjNG40cnk=",
        f"password={CANARY}",
        f"PASSWORD = {CANARY}",
        f"{{'password': '{CANARY} with spaces'}}",
        f'{{"db_password": "{CANARY} with \\" quote"}}',
        f'{{"client_secret":"{CANARY}"}}',
        f'{{\\"token\\": \\"{CANARY}\\"}}',
        f"{{b'x-api-key': b'{CANARY}'}}",
        f"[('X-Auth-Token', '{CANARY}'), ('A', 'b')]",
        f"access_token={CANARY}&x=1",
        f"api-key: {CANARY}",
        f"private_key => {CANARY}",
        f"token%3D{CANARY}",
        f"redis://:{CANARY}@host:6379/0",
        f"rediss://user:{CANARY}@host",
        f"https://{CANARY}@example.org/x",
        f"//user:{CANARY}@example.org/x",
        f"X-Goog-Signature={CANARY}&x=1",
        f"X-Amz-Security-Token={CANARY}",
        f"https://storage/x?upload_id={CANARY}",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\\n{CANARY}",
        f"sig={CANARY}",
    ],
)
def test_a_secret_with_a_name_or_a_shape_is_redacted(text: str) -> None:
    cleaned = redact(f"before {text}")
    assert CANARY not in cleaned
    assert "c4n4ry" not in cleaned
    assert "dXNlcjpjNG40cnk" not in cleaned
    assert cleaned.startswith("before ")
    assert REDACTED in cleaned
    assert redact(cleaned) == cleaned


def test_a_jwt_is_redacted_wherever_it_stands() -> None:
    assert redact(f"/reset/{JWT}/x") == f"/reset/{REDACTED}/x"
    assert JWT.split(".")[2] not in redact(f'"{JWT}"')


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/files/report.pdf 200",
        "session store: timeout after 250 ms",
        "basic usage of the key: value syntax",
        "http://example.org:8080/path?prefix=a@b",
        "the author: somebody; design=3; monkey=2; passenger=4",
        "Started 8 threads, listening at 0.0.0.0:8080",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("secret", [CANARY, "pässwörd/ü"])
def test_what_the_process_was_started_with_is_known_by_value(secret: str) -> None:
    remember(secret, f"redis://user:{CANARY}%2Fabc@host")
    assert secret not in redact(f"AUTH failed for {secret}.")
    assert CANARY not in redact(f"AUTH failed for {CANARY}/abc and {CANARY}%2Fabc")


@pytest.mark.parametrize(
    "name", ["password", "DB_PASSWORD", "X-Api-Key", "Set-Cookie", "access_token", "sig", "x" * 300 + "token"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["user", "key", "keyboard", "design", "author", "monkey", "status"])
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "query",
    [
        f"token={CANARY}",
        f"a=1&PASSWORD={CANARY}&b=2",
        f"p%61ssword={CANARY}",
        f"p%2561ssword={CANARY}",
        f"X-Goog-Signature={CANARY}",
        f"next=https%3A%2F%2Fx%2F%3Ftoken%3D{CANARY}",
        f"next=https%253A%252F%252Fx%252F%253Ftoken%253D{CANARY}",
        f"url=redis%3A%2F%2F%3A{CANARY}%40host",
        f"q=password%3D{CANARY}",
        f"h=Authorization%3A+Bearer+{CANARY}",
        f"code={CANARY}",
        f"a=1&key={CANARY}",
        f"refresh={CANARY}",
    ],
)
def test_the_query_of_a_url_is_redacted(query: str) -> None:
    cleaned = redact_url(f"http://host/path?{query}")
    assert CANARY not in cleaned
    assert cleaned.startswith("http://host/path?")


def test_the_rest_of_a_query_stays() -> None:
    assert redact_url("/x?a=1&token=abc&prefix=b%20c&flag") == f"/x?a=1&token={REDACTED}&prefix=b%20c&flag"


HOSTILE = {
    "schemes": "a" * 1000 + "://",
    "userinfo": "://x",
    "jwt run": "eyJ",
    "jwt dots": "eyJaaaaaa.",
    "names": "token",
    "names and spaces": "token   ",
    "named": "password=",
    "quotes": 'password="',
    "escapes": 'password="\\',
    "backslashes": "token\\\\\\",
    "pem": "-----BEGIN A-----",
    "pem start": "-----BEGIN ",
    "bearer": "bearer ",
    "basic": "basic a",
    "header": "cookie",
    "at": "://@",
    "percent": "%25",
    "commas": "',",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_megabyte_of_hostile_text_takes_linear_time(piece: str) -> None:
    """Eight times the text may take at most some thirty times as long; a quadratic pattern would take sixty-four."""

    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        best = 60.0
        for _ in range(3):
            begin = time.thread_time()
            redact(text)
            best = min(best, time.thread_time() - begin)
        return best

    small, large = seconds(125_000), seconds(1_000_000)
    assert large < 0.05 or large < 30 * small
    assert large < 20


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_taken(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    redact_url(text)
    is_secret_name(text)


def test_the_cheap_look_before_the_patterns_misses_nothing_that_they_find() -> None:
    """Whatever name the patterns know, the words that are searched first must let it through."""
    names = [
        "password", "passwd", "passphrase", "pwd", "token", "secret", "signature", "api_key", "api key", "apikey",
        "credential", "private-key", "access.key", "session_id", "sessionid", "upload_id", "client_assertion", "jwt",
        "sig", "auth", "pass", "session", "authorization", "authorisation", "cookie",
    ]  # fmt: skip
    for name in names:
        for text in (f"{name}={CANARY}", f"{name.upper()}={CANARY}", f"x {{'{name}': '{CANARY}'}}"):
            assert module._NAMED.search(text) or module._HEADER.search(text), text
            assert CANARY not in redact(text), text
