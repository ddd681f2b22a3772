"""Redis with a user of its own, a password, a database and TLS with our own CA and client certificates."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.sessions import open_store
from service.sessions.store import Applied, Change, SessionStore, StoreUnavailable
from service.settings import load
from tests.support.certs import Authority, Certificate
from tests.support.processes import free_port
from tests.support.redis import redis_server

PASSWORD = "canary/p@ss:wordé"  # what has to be written with care in a URL
URL_PASSWORD = "canary%2Fp%40ss%3Aword%C3%A9"

# What the user of the service may do: its own keys, and what its scripts use.
RIGHTS = "~session:* +evalsha +eval +del +select +time +hgetall +hset +hdel +pexpire +pexpireat"


@dataclass(frozen=True)
class Secured:
    """A Redis that answers over TLS only, to clients with a certificate, to users with a password."""

    port: int
    ca: Path
    client: Certificate


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    server, client = authority.issue("server"), authority.issue("client")
    port = free_port()
    (folder / "users.acl").write_text(f"user default off\nuser seatrial on >{PASSWORD} {RIGHTS}\n")
    tls = {
        "--tls-port": str(port),
        "--tls-cert-file": str(server.cert),
        "--tls-key-file": str(server.key),
        "--tls-ca-cert-file": str(authority.cert),
        "--tls-auth-clients": "yes",
        "--aclfile": str(folder / "users.acl"),
    }
    with redis_server(folder, "--port", "0", *(part for option in tls.items() for part in option)):
        yield Secured(port, authority.cert, client)


def opened(secured: Secured, url: str = "", **settings: str) -> SessionStore:
    return open_store(
        load(
            {
                "SESSION_URL": url or f"rediss://127.0.0.1:{secured.port}/5",
                "SESSION_USERNAME": "seatrial",
                "SESSION_PASSWORD": PASSWORD,
                "SESSION_TLS_CA_FILE": str(secured.ca),
                "SESSION_TLS_CERT_FILE": str(secured.client.cert),
                "SESSION_TLS_KEY_FILE": str(secured.client.key),
                "SESSION_TIMEOUT": "5s",
                "STORAGE_URL": "file:///nowhere",
                **settings,
            }
        )
    )


def assert_serves(store: SessionStore) -> None:
    store.check()
    key, new = secrets.token_hex(32), secrets.token_hex(32)
    assert store.apply(key, Change(add={"n": 1}, create=True)) == Applied({"n": 1})
    assert store.apply(key, Change(add={"n": 1}, delete=frozenset("x"), new_key=new)) == Applied({"n": 2})
    record = store.read(new)
    assert record is not None
    assert record.counters == {"n": 2}
    large = b'"' + b"x" * 10_000 + b'"'
    assert isinstance(store.apply(new, Change(set={"large": large})), Applied), "more than one TLS record and read"
    record = store.read(new)
    assert record is not None
    assert record.values == {"large": large}
    store.delete(new)


def assert_refused(store: SessionStore, cause: str) -> None:
    with pytest.raises(StoreUnavailable, match=cause) as caught:
        store.check()
    store.close()
    said = f"{caught.value!r} {caught.value.__cause__!r}"
    print(said)
    assert "canary" not in said


def test_everything_from_settings(secured: Secured) -> None:
    store = opened(secured)
    assert_serves(store)
    store.close()
    assert "canary" not in repr(store)


def test_user_and_password_from_the_url_win(secured: Secured) -> None:
    url = f"rediss://seatrial:{URL_PASSWORD}@127.0.0.1:{secured.port}/7"
    store = opened(secured, url, SESSION_USERNAME="nobody", SESSION_PASSWORD="wrong")
    assert_serves(store)
    store.close()


def test_the_servers_certificate_is_checked(secured: Secured, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    assert_refused(opened(secured, SESSION_TLS_CA_FILE=str(other.cert)), "CERTIFICATE_VERIFY_FAILED")
    assert_refused(opened(secured, SESSION_TLS_CA_FILE=""), "CERTIFICATE_VERIFY_FAILED")


def test_the_servers_name_is_checked(secured: Secured) -> None:
    store = opened(secured, f"rediss://localhost:{secured.port}/5")
    assert_serves(store)
    store.close()
    assert_refused(opened(secured, f"rediss://127.1:{secured.port}/5"), "CERTIFICATE_VERIFY_FAILED|mismatch|not valid")


def test_a_client_without_the_right_certificate_is_told(secured: Secured, tmp_path: Path) -> None:
    none = opened(secured, SESSION_TLS_CERT_FILE="", SESSION_TLS_KEY_FILE="")
    assert_refused(none, "can't be used")
    stranger = Authority(tmp_path, "stranger").issue("stranger")
    wrong = opened(secured, SESSION_TLS_CERT_FILE=str(stranger.cert), SESSION_TLS_KEY_FILE=str(stranger.key))
    assert_refused(wrong, "can't be used")


def test_a_wrong_password_is_told_without_showing_it(secured: Secured) -> None:
    assert_refused(opened(secured, SESSION_PASSWORD="canary-wrong"), "WRONGPASS")
    url = f"rediss://seatrial:canary-wrong@127.0.0.1:{secured.port}/5"
    assert_refused(opened(secured, url), "WRONGPASS")


def test_plain_redis_where_tls_is_wanted_is_told(secured: Secured) -> None:
    assert_refused(opened(secured, f"redis://127.0.0.1:{secured.port}/5"), "can't be used|makes no sense|refused")


def test_tls_where_plain_redis_replies_is_told(secured: Secured, tmp_path: Path) -> None:
    with redis_server(tmp_path) as plain:
        assert_refused(opened(secured, f"rediss://127.0.0.1:{plain.port}/0", SESSION_TIMEOUT="300ms"), "Redis at")


def test_a_certificate_that_can_not_be_used_is_told_at_start(secured: Secured, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(OSError):
        opened(secured, SESSION_TLS_CA_FILE=str(junk))
    with pytest.raises(OSError):
        opened(secured, SESSION_TLS_CERT_FILE=str(junk))
