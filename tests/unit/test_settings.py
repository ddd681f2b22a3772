"""Settings: every fault named at once, no secret shown, files and environment, and a page that is not stale."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import service
from scripts import settings_page
from service import feature_settings
from service import setting_parsers as parse
from service.settings import SettingsError, load, misspelt, setting, setting_fields

GOOD = {"SESSION_URL": "memory://", "STORAGE_URL": "file:///srv/files"}


def faults(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(GOOD | environ, dependencies=("sessions", "storage"))
    return caught.value.errors


def test_the_defaults_need_only_the_two_stores() -> None:
    settings = load(GOOD)
    assert settings.port == 8080
    assert settings.session_timeout == 0.25
    assert settings.max_upload_bytes == 2**30
    assert settings.session_tls_ca_file == ""
    assert settings.forwarded_allow_ips == ()
    assert settings.ready_requires == ()
    assert settings.allowed_hosts == ("*",)


def test_the_stores_have_no_default() -> None:
    with pytest.raises(SettingsError) as caught:
        load({})
    assert [fault.split()[0] for fault in caught.value.errors] == ["SESSION_URL", "STORAGE_URL"]


def test_every_error_is_named_at_once() -> None:
    found = faults(PORT="http", LOG_LEVEL="loud", SHUTDOWN_DELAY="soon", SESSION_URL="mysql://h", MAX_CONNECTIONS="-1")
    assert sorted(fault.split()[0] for fault in found) == [
        "LOG_LEVEL",
        "MAX_CONNECTIONS",
        "PORT",
        "SESSION_URL",
        "SHUTDOWN_DELAY",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SESSION_URL", "redis://"),
        ("SESSION_URL", "redis://host:port/0"),
        ("SESSION_URL", "redis://host/zero"),
        ("SESSION_URL", "redis://host:6379/0\n"),
        ("SESSION_URL", "redis:/host"),
        ("SESSION_URL", "unix://relative.sock"),
        ("SESSION_URL", "memory://host"),
        ("SESSION_URL", "memcached://host"),
        ("SESSION_URL", "memcached://a:1,b"),
        ("SESSION_URL", "memcached://a:0"),
        ("SESSION_URL", "memcached://a:11211,b:11211"),
        ("SESSION_URL", "memcached://[::1]:11211,b:11211"),
        ("SESSION_URL", "memcached://[::1]"),
        ("SESSION_URL", "memcached://[::1]11211"),
        ("SESSION_URL", "memcached://[a]:11211"),
        ("SESSION_URL", "memcached://[::1:11211"),
        ("SESSION_URL", "redis://[127.0.0.1]"),
        ("SESSION_URL", "redis://[v1.a]"),
        ("SESSION_URL", "redis+cluster://"),
        ("SESSION_URL", "redis+cluster://host:6379/1"),
        ("SESSION_URL", "redis+cluster://host:6379?db=1"),
        ("SESSION_URL", "memcached://a:65536"),
        ("SESSION_URL", "REDIS://host"),
        ("SESSION_URL", "MEMORY://"),
        ("SESSION_URL", "unix://run/redis.sock"),
        ("SESSION_URL", "unix:///"),
        ("SESSION_URL", "redis://host:0"),
        ("STORAGE_URL", "file:///%00"),
        ("STORAGE_URL", "FILE:///srv"),
        ("STORAGE_URL", "gs://"),
        ("STORAGE_URL", "gs://Bucket"),
        ("STORAGE_URL", "gs://bucket?x=1"),
        ("STORAGE_URL", "file://host/folder"),
        ("STORAGE_URL", "s3://bucket"),
        ("PORT", "70000"),
        ("PORT", "٨٠٨٠"),
        ("SHUTDOWN_DELAY", "1e3"),
        ("SHUTDOWN_DELAY", "nan"),
        ("SHUTDOWN_DELAY", "-1s"),
        ("MAX_UPLOAD_BYTES", "1GB"),
        ("COOKIE_SECURE", "perhaps"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1/8"),
        ("FORWARDED_ALLOW_IPS", "*"),
        ("ALLOWED_HOSTS", "http://example.org"),
        ("READY_REQUIRES", "redis"),
        ("SESSION_TLS_CA_FILE", "/no/such/file"),
        ("HOST", "localhost"),
        ("INSTANCE", "two\nlines"),
    ],
)
def test_a_bad_value_is_an_error_that_names_its_setting(name: str, value: str) -> None:
    assert any(fault.startswith(name) for fault in faults(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SESSION_TIMEOUT", "100ms", 0.1),
        ("SESSION_IDLE_LIFETIME", "2h", 7200.0),
        ("SESSION_IDLE_LIFETIME", "1.5d", 129600.0),
        ("KEEP_ALIVE", "75", 75.0),
        ("MAX_UPLOAD_BYTES", "8MiB", 8 * 2**20),
        ("MAX_UPLOAD_BYTES", "1000", 1000),
        ("READY_REQUIRES", "sessions, storage", ("sessions", "storage")),
        ("ALLOWED_HOSTS", "Example.org,*.example.org,[::1]", ("example.org", "*.example.org", "[::1]")),
        ("SESSION_URL", "redis://user:p%40ss@host:6380/2", "redis://user:p%40ss@host:6380/2"),
        ("SESSION_URL", "memcached://a:11211", "memcached://a:11211"),
        ("SESSION_URL", "memcached://[::1]:11211", "memcached://[::1]:11211"),
        ("SESSION_URL", "redis://:p@[::1]", "redis://:p@[::1]"),
        ("SESSION_URL", "redis+cluster://[2001:db8::1]:6379/0", "redis+cluster://[2001:db8::1]:6379/0"),
        ("SESSION_URL", "rediss+cluster://any-node:6380/0", "rediss+cluster://any-node:6380/0"),
        ("STORAGE_URL", "gs://bucket/some/prefix", "gs://bucket/some/prefix"),
    ],
)
def test_values_are_read_as_people_write_them(name: str, value: str, expected: object) -> None:
    assert getattr(load(GOOD | {name: value}), name.lower()) == expected


@pytest.mark.parametrize("scheme", ["memcached", "redis", "redis+cluster"])
@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("[fe80::1%eth0]:1234", "without a zone"),
        ("[fe80::1%25eth0]:1234", "without a zone"),
        ("::1:1234", "in brackets"),
        ("fe80::1:1234", "in brackets"),
    ],
)
def test_an_ipv6_address_that_can_not_be_used_is_a_fault_with_advice(scheme: str, address: str, advice: str) -> None:
    [fault] = faults(SESSION_URL=f"{scheme}://{address}")
    assert advice in fault


def test_rules_between_settings_are_checked() -> None:
    assert any("SESSION_IDLE_LIFETIME" in f for f in faults(SESSION_IDLE_LIFETIME="31d"))
    assert any("PORT and OPS_PORT" in f for f in faults(PORT="8000", OPS_PORT="8000"))
    assert any("given together" in f for f in faults(SESSION_TLS_CERT_FILE=__file__))


def test_a_secret_is_in_no_error_and_no_repr() -> None:
    secret = "canary-7d1f"
    found = faults(SESSION_URL=f"redis://:{secret}@host:notaport/0", SESSION_PASSWORD=f"{secret}\x00")
    assert len(found) == 2
    assert secret not in " ".join(found)
    settings = load(GOOD | {"SESSION_URL": f"redis://:{secret}@host/0", "SESSION_PASSWORD": secret})
    assert secret not in repr(settings)


def test_settings_come_from_files_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "SESSION_PASSWORD").write_text("from a file\n")
    (tmp_path / "LOG_LEVEL").write_text("DEBUG")
    (tmp_path / "..data").mkdir()  # as Kubernetes mounts them
    settings = load(GOOD | {"SETTINGS_DIR": str(tmp_path), "LOG_LEVEL": "ERROR"})
    assert settings.session_password == "from a file"
    assert settings.log_level == "ERROR"


def test_what_is_wrong_with_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "SESION_PASSWORD").write_text("x")
    (tmp_path / "LOG_LEVEL").write_bytes(b"\xff\xfe")
    (tmp_path / "REVISION").write_text("x" * 70_000)
    found = faults(SETTINGS_DIR=str(tmp_path))
    assert any("did you mean SESSION_PASSWORD?" in f for f in found)
    assert any(f.startswith("LOG_LEVEL") for f in found)
    assert any(f.startswith("REVISION") for f in found)
    assert any("must be a folder" in f for f in faults(SETTINGS_DIR=str(tmp_path / "nowhere")))


def test_a_misspelt_name_gets_a_suggestion_and_a_foreign_one_does_not() -> None:
    environ = GOOD | {"SESION_TIMEOUT": "1s", "SESSION_MANAGER": "x", "PATH": "/bin", "STORAGE_EMULATOR_HOST": "x"}
    assert misspelt(environ) == ["SESION_TIMEOUT is not a setting; did you mean SESSION_TIMEOUT?"]


def test_an_empty_value_is_as_good_as_none() -> None:
    assert load(GOOD | {"PORT": "", "READY_REQUIRES": ""}).port == 8080


def test_the_settings_page_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own settings. Those of features come after them; ``make lint`` compares the whole page."""
    monkeypatch.setattr(service, "FEATURES", ())
    assert settings_page.PAGE.read_text().startswith(settings_page.page())


def test_every_setting_says_what_it_means() -> None:
    for name, spec in setting_fields(*feature_settings()).items():
        assert spec.metadata["doc"].endswith("."), name


def test_what_does_not_go_together_is_told_beside_what_is_wrong_alone() -> None:
    found = faults(THREADS="many", PORT="7000", OPS_PORT="7000", SESSION_IDLE_LIFETIME="31d")
    assert [fault.split()[0] for fault in found] == ["THREADS", "SESSION_IDLE_LIFETIME", "PORT"]


@dataclass(frozen=True)
class Extra:
    """A feature's own settings."""

    most: int = setting(parse.integer(1, 9), "3", "How many at most.")


def test_a_feature_has_settings_of_its_own() -> None:
    assert load(GOOD, Extra).of(Extra) == Extra(most=3)
    assert load(GOOD | {"MOST": "5"}, Extra).of(Extra).most == 5
    with pytest.raises(SettingsError) as caught:
        load(GOOD | {"MOST": "0", "PORT": "http"}, Extra)
    assert [error.split()[0] for error in caught.value.errors] == ["PORT", "MOST"]
    with pytest.raises(KeyError):
        load(GOOD).of(Extra)
