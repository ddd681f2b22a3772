"""Secrets are found by name, by shape and by value, in time that grows linearly with the text."""

import base64
import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.logs.redaction import REDACTED, is_secret_name, redact, remember
from service.logs.secret_names import HEADERS, LAST_WORDS, NAMES, PARAMETERS, TOKENS

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
        f"Idempotency-Key: {CANARY}",
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
        f"user[password]={CANARY}",
        f"{{'password': ['{CANARY} a', '{CANARY} b']}}",
        f"contraseña={CANARY}",
        f"contrasen\u0303a={CANARY}",
        f"contraseÃ±a={CANARY}",  # UTF-8, as WSGI has it in a header
        f"passwort={CANARY}",
        f"mot-de-passe: {CANARY}",
        f"Mozilla/5.0 (senha={CANARY}) Gecko",
        f"connect.sid=s%3A{CANARY}",
        f"GET https://host/cb?code={CANARY}&a=1 failed",
        f"https://host/cb#code={CANARY}",
        f"https://host/x?token={CANARY},c4n4ry",
        # Only decoding shows these.
        f"/login;p%61ssword={CANARY}",
        f"/login;p%2561ssword={CANARY}",
        f"/login;p%61ssword=a%20{CANARY}%26{CANARY}",
        f"/proxy/https%3A%2F%2Fuser%3A{CANARY}%40host",
        f"/proxy/https%253A%252F%252Fuser%253A{CANARY}%2540host/x",
        f"/proxy/https%3A%2F%2Fhost%2Fcb%3Fcode%3D{CANARY}",
        f"/cb/Bearer%20{CANARY}",
        f"/cb/Bearer+{CANARY}",
        f"/cb/Bearer%2520{CANARY}",
        "/cb/Basic%20dXNlcjpjNG40cnk=",
        f"/k/-----BEGIN%20PRIVATE%20KEY-----%0Aab/{CANARY}/%0A-----END%20PRIVATE%20KEY-----",
        f"/k/-----BEGIN%2520RSA%2520PRIVATE%2520KEY-----%250A{CANARY}",
        f"/k/{quote(quote(f'-----BEGIN EC PRIVATE KEY-----{CANARY}', safe=''), safe='')}",
        f"/x/%7B%22password%22%3A%22a%20{CANARY}%22%7D",
        f"https://host/a/contrase%C3%B1a={CANARY}?x=1",
        f"Mozilla/5.0 (compatible; p%61ssword={CANARY}; X)",
        f"/Authorization%3A%20Digest%20username%3Dx,%20response%3D{CANARY}",
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


@pytest.mark.parametrize("name", [*HEADERS, *NAMES])
@pytest.mark.parametrize("space", ["", "-", "_", ".", " "])
def test_a_name_is_the_same_in_every_place(name: str, space: str) -> None:
    name = name.replace(" ", space)
    assert is_secret_name(name)
    assert is_secret_name(f"x_{name.upper()}_2")
    for text in (
        f"{name}={CANARY}",
        f"{name.upper()} = {CANARY}",
        f"x {{'{name}': '{CANARY}'}}",
        f"?a=1&{quote(name)}={CANARY}",
        f"/p;{''.join(f'%{byte:02x}' for byte in name.encode())}={CANARY}/x",
        f"Mozilla/5.0 ({name}: {CANARY}) Gecko",
    ):
        assert CANARY not in redact(text), text


@pytest.mark.parametrize("word", LAST_WORDS)
def test_a_word_that_is_a_secret_at_the_end_of_a_name(word: str) -> None:
    assert is_secret_name(word)
    assert is_secret_name(f"User-{word.upper()}")
    assert not is_secret_name(f"com{word}")
    assert not is_secret_name(f"{word}enger")
    for text in (f"{word}={CANARY}", f"x_{word}='{CANARY}'", f'{{"{word}": "{CANARY}"}}', f"?a=1&my-{word}={CANARY}"):
        assert CANARY not in redact(text), text
    assert redact(f"{word}: fine") == f"{word}: fine"


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_name_that_is_a_secret_as_a_parameter_only(name: str) -> None:
    name = name.replace(" ", "_")
    assert not is_secret_name(name)
    assert redact(f"/x?{name}=S1&a=1&{name}=S2#{name}=S3") == (
        f"/x?{name}={REDACTED}&a=1&{name}={REDACTED}#{name}={REDACTED}"
    )
    assert CANARY not in redact(f"/x?next=https%3A%2F%2Fy%3F{name}%3D{CANARY}")
    assert redact(f"{name}=5; no{name}=6") == f"{name}=5; no{name}=6"


# The letters of each kind of token's rest that has not the usual ones.
RESTS = {
    "SG.": f"{'a1B2' * 5}.{'a1B2' * 20}",
    "AGE-SECRET-KEY-1": "A1" * 40,
    "whsec_": "a1/+" * 8,
    "glc_": "a1/+" * 20 + "==",
}
WITH_SLASHES = {"whsec_", *(f"hooks.slack.com/{kind}/" for kind in ("services", "workflows", "triggers"))}
TOKEN_STARTS = [first for firsts, _ in TOKENS for first in firsts]


@pytest.mark.parametrize("first", TOKEN_STARTS)
def test_a_token_is_known_by_its_shape(first: str) -> None:
    rest = RESTS.get(first, "A2" * 8 if first[1:] in ("KIA", "SIA", "BIA", "CCA") else "a1" * 32)
    token = first + (rest + "." + rest if first == "eyJ" else rest)
    for before, after in (
        ("", ""),
        ("/reset/", "/x"),
        ("see ", ", and more"),
        ('{"a":"', '"}'),
        (r"one\n", ""),
        ("(", ")"),
    ):
        eaten = "/x" if first in WITH_SLASHES and after == "/x" else ""
        assert redact(f"{before}{token}{after}") == f"{before}{REDACTED}{after.removeprefix(eaten)}"
    assert rest not in redact(f"/x%2F{quote(quote(token, safe=''), safe='')}%22")
    assert redact(f"{first}x") == f"{first}x"


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
        "/api/files/my%20report%20%28final%29.pdf?prefix=b%20c&limit=10",
        "/suche/M%C3%BCnchen+Asia%2FTokyo/sk-SK/100%25",
        "/static/sk-fading-circle-with-many-words.css?v=1.2.3",
        "/@user/posts?code_style=a&keyboard=de&sort=key",
        "https://example.org/medium.com%2F%40user?next=%2Ffiles%3Fpage%3D2",
        "the exit code=1, and key=3; a basic+simple example: 1 + 1 = 2",
        "the session: 250 ms; otp: used; JWT: expired; pass: 12 of 13, 100% done",
        "npm_config_registry, pypi-server and ghp_ are names; Eyjafjallajoekull",
        "Asia/Tokyo ASIAN MARKETS AKIAS; a task-list of risk-free, SG.com",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "kube-probe/1.31 GoogleHC/1.0 curl/8.5.0 python-requests/2.32.3",
        "GET /pkg/contrasts/dapifier/hf_models/palavra/desenhar=1 HTTP/1.1",
        "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "gs://bucket/prefix/3f/2a7c9be1d4f04d1c8e2b",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


HARD = "pä'ss \"wörd\\/+?/ü"


@pytest.mark.parametrize("secret", [CANARY, "pässwörd/ü", HARD])
@pytest.mark.parametrize(
    "form",
    [
        str,
        lambda text: quote(text, safe=""),
        lambda text: re.sub("%..", lambda match: match[0].lower(), quote(text, safe="")),
        lambda text: quote(quote(text)),
        quote_plus,
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps(text).replace("/", r"\/"),
        repr,
        ascii,
        lambda text: repr(text.encode()),
        lambda text: repr([text, "'", '"']),
        lambda text: repr(f"{text} ' \""),
        shlex.quote,
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"me:{text}".encode()).decode(),
        lambda text: base64.b64encode(f"x:{text}, and more".encode()).decode(),
    ],
)
def test_what_the_process_was_started_with_is_known_by_value(secret: str, form: Callable[[str], str]) -> None:
    remember(secret)
    shown = redact(f"AUTH failed for {form(secret)}.")
    assert REDACTED in shown
    assert shown.startswith("AUTH failed for ")
    assert form(secret)[3:-3] not in shown


def test_of_a_url_the_password_is_known_by_value() -> None:
    remember(f"redis://user:{CANARY}%2Fabc@host")
    assert redact(f"AUTH failed for {CANARY}/abc and {CANARY}%2Fabc") == f"AUTH failed for {REDACTED} and {REDACTED}"
    assert redact("redis: user at host") == "redis: user at host"
    remember()
    assert redact(f"{CANARY}/abc") == f"{CANARY}/abc"


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "X-Api-Key", "Idempotency-Key", "Set-Cookie", "a_token", "sig", "x" * 300 + "token"],
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
    cleaned = redact(f"http://host/path?{query}")
    assert CANARY not in cleaned
    assert cleaned.startswith("http://host/path?")


def test_the_rest_of_a_query_stays() -> None:
    assert redact("/x?a=1&token=abc&prefix=b%20c&flag") == f"/x?a=1&token={REDACTED}&prefix=b%20c&flag"


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
    "encoded percent": "%252525",
    "encoded names": "%70assword%3D",
    "encoded words": "%41%20",
    "plus": "bearer+",
    "parameters": "?a",
    "parameter names": "&tokentoken",
    "parameter values": "?code=a",
    "brackets": "token[",
    "lists": "token=['",
    "sk": "sk-",
    "sendgrid": "SG.aaaaaaaaaaaaaaaaaaaa",
    "gitlab": "glpat-",
    "slack": "xoxb-a",
    "jwt and dashes": "-eyJaaaaaa",
    "accents": "contraseññ",
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
    is_secret_name(text)
