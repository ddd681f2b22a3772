"""Every setting: its name, its default, its check and its meaning.

Read from the environment and from the files of a mounted folder (``SETTINGS_DIR``, one file a setting, as Kubernetes
mounts a Secret); the environment wins. ``load()`` names every fault at once. ``docs/settings.md`` is made from here.
"""

import difflib
import ipaddress
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

T = TypeVar("T")

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SESSION_SCHEMES = ("redis", "rediss", "unix", "memcached", "memory")
_STORAGE_SCHEMES = ("gs", "file")
_MAX_FILE_BYTES = 64 * 1024  # a setting's file; a certificate bundle is named by path, not put in a setting


class SettingsError(Exception):
    """The settings can't be used. ``faults`` has one sentence for each thing that is wrong; none shows a secret."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


# Parsers: a string in, a value out, ValueError with a sentence's end ("must be …") when it can't be.


def _text(raw: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in raw):
        raise ValueError("must not contain control characters")
    return raw


def _boolean(raw: str) -> bool:
    if raw.lower() in ("true", "1", "yes", "on"):
        return True
    if raw.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("must be true or false")


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", raw) or not low <= int(raw) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(raw)

    return parse


def _duration(low: float, high: float) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)?", raw)
        seconds = float(match[1]) * _DURATION_UNITS[match[2] or "s"] if match else -1.0
        if not low <= seconds <= high:
            raise ValueError(f"must be a duration such as 250ms, 5s, 10m, 2h or 7d, from {low:g}s to {high:g}s")
        return seconds

    return parse


def _size(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15})(|KiB|MiB|GiB)", raw)
        size = int(match[1]) * _SIZE_UNITS[match[2]] if match else -1
        if not low <= size <= high:
            raise ValueError(f"must be a size in bytes or as KiB, MiB or GiB, from {low} to {high} bytes")
        return size

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return raw

    return parse


def _names(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    def parse(raw: str) -> tuple[str, ...]:
        names = tuple(filter(None, (part.strip() for part in raw.split(","))))
        if any(name not in allowed for name in names):
            raise ValueError(f"must be a comma-separated list of {', '.join(allowed)}")
        return names

    return parse


def _hosts(raw: str) -> tuple[str, ...]:
    hosts = tuple(filter(None, (part.strip().lower() for part in raw.split(","))))
    if any(not re.fullmatch(r"\*|(\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\]", host) for host in hosts):
        raise ValueError(
            "must be a comma-separated list of host names without ports, such as example.org or *.example.org"
        )
    return hosts


def _networks(raw: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in raw.split(",") if part.strip())
    except ValueError:
        raise ValueError("must be a comma-separated list of IP addresses or networks such as 10.0.0.0/8") from None


def _host(raw: str) -> str:
    try:
        return str(ipaddress.ip_address(raw))
    except ValueError:
        raise ValueError("must be an IP address to listen on, such as 0.0.0.0, 127.0.0.1 or ::") from None


def _file(raw: str) -> str:
    if not Path(raw).is_file():
        raise ValueError("must name a file that can be read")
    return raw


def _url(schemes: tuple[str, ...], check: Callable[[str], None]) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        try:
            parts = urlsplit(_text(raw))
            port_is_valid = parts.scheme == "memcached" or parts.port != 0  # .port raises where it is no number
        except ValueError:
            port_is_valid = False
        if not port_is_valid or parts.scheme not in schemes or "://" not in raw:
            raise ValueError(f"must be a URL with one of the schemes {', '.join(s + '://' for s in schemes)}")
        check(raw)
        return raw

    return parse


def _check_session_url(raw: str) -> None:
    parts = urlsplit(raw)
    if parts.scheme == "memory" and raw != "memory://":
        raise ValueError("must be memory:// with nothing behind it")
    if parts.scheme in ("redis", "rediss") and not parts.hostname:
        raise ValueError("must name the server's host, as in redis://host:6379/0")
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/?[0-9]{0,3}", parts.path):
        raise ValueError("must end in a database number or nothing, as in redis://host:6379/0")
    if parts.scheme == "unix" and not parts.path.startswith("/"):
        raise ValueError("must name the socket's path, as in unix:///run/redis.sock")
    if parts.scheme == "memcached" and not re.fullmatch(r"memcached://[^/@,:]+:[0-9]+(,[^/@,:]+:[0-9]+)*", raw):
        raise ValueError("must be memcached://host:port, with more servers behind commas")


def _check_storage_url(raw: str) -> None:
    parts = urlsplit(raw)
    if parts.scheme == "gs" and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", parts.netloc):
        raise ValueError("must name a bucket, as in gs://bucket/prefix")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError("must name a folder from the root, as in file:///var/lib/files")
    if parts.query or parts.fragment:
        raise ValueError("must have no query and no fragment")


def _setting(
    parse: Callable[[str], T], default: str | Callable[[], str] | None, doc: str, *, secret: bool = False
) -> T:
    """One setting. ``default`` is written as a user would write it; None means it must be given."""
    metadata = {"parse": parse, "default": default, "doc": doc, "secret": secret}
    return cast("T", field(metadata=metadata, repr=not secret, kw_only=True))


def _package_version() -> str:
    try:
        return version("seatrial")
    except PackageNotFoundError:
        return "0+unknown"


@dataclass(frozen=True)
class Settings:
    """All settings, checked. A field's name in capitals is the setting's name. Secrets are left out of ``repr``.

    Durations are floats in seconds, sizes are whole bytes.
    """

    # Stores
    session_url: str = _setting(
        _url(_SESSION_SCHEMES, _check_session_url),
        None,
        "Where sessions live: `redis://`, `rediss://` or `unix://` (Redis, Valkey), `memcached://host:port[,host:port]`, or `memory://` (this process only; lost at restart).",
        secret=True,
    )
    session_username: str = _setting(_text, "", "The Redis user, if it is not in `SESSION_URL`.")
    session_password: str = _setting(_text, "", "The Redis password, if it is not in `SESSION_URL`.", secret=True)
    session_tls_ca_file: str = _setting(
        _file, "", "The CA that signed the Redis server's certificate; the system's CAs when empty."
    )
    session_tls_cert_file: str = _setting(_file, "", "The client certificate shown to Redis.")
    session_tls_key_file: str = _setting(_file, "", "The client certificate's key.")
    session_timeout: float = _setting(
        _duration(0.01, 10), "250ms", "The longest a request waits for the session store."
    )
    session_idle_lifetime: float = _setting(
        _duration(1, 31_536_000), "7d", "A session that is not used for so long ends."
    )
    session_absolute_lifetime: float = _setting(
        _duration(1, 31_536_000), "30d", "A session ends so long after it began, however much it is used."
    )
    session_max_bytes: int = _setting(_size(256, 1_000_000), "16KiB", "The largest a session may get, as it is stored.")
    cookie_secure: bool = _setting(
        _boolean,
        "true",
        "Send the cookie over HTTPS only (`__Host-session`), and HSTS. Switch off only for plain HTTP on one's own machine.",
    )
    storage_url: str = _setting(
        _url(_STORAGE_SCHEMES, _check_storage_url),
        None,
        "Where files live: `gs://bucket/prefix` (Google Cloud Storage, by Application Default Credentials) or `file:///folder`.",
    )
    storage_timeout: float = _setting(
        _duration(0.1, 300), "10s", "The longest one call to the object store may take without progress."
    )
    storage_retry_budget: float = _setting(
        _duration(0, 300), "15s", "How long calls that are safe to repeat are retried altogether."
    )

    # Limits
    max_upload_bytes: int = _setting(_size(0, 2**42), "1GiB", "The largest file.")
    max_files: int = _setting(_integer(0, 1_000_000), "1000", "How many files a visitor may keep.")
    max_total_bytes: int = _setting(_size(0, 2**50), "5GiB", "How many bytes a visitor may keep.")
    head_timeout: float = _setting(
        _duration(0.1, 300), "10s", "How long a client may take to send a request's head and a small body."
    )
    io_timeout: float = _setting(_duration(0.1, 300), "30s", "How long a transfer may go without a byte.")
    min_transfer_rate: int = _setting(
        _size(0, 2**30),
        "1KiB",
        "The slowest transfer that is served, in bytes a second, after `IO_TIMEOUT` has passed.",
    )
    max_connections: int = _setting(
        _integer(10, 100_000), "1000", "Open connections of visitors, for each worker process."
    )

    # Listeners
    host: str = _setting(_host, "0.0.0.0", "The address that both listeners listen on.")  # noqa: S104 -- a container is reached from outside
    port: int = _setting(_integer(0, 65535), "8080", "The app listener's port, for visitors. 0 takes a free one.")
    ops_port: int = _setting(
        _integer(0, 65535),
        "9090",
        "The ops listener's port, for the platform: metrics and full health. 0 takes a free one.",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        _hosts,
        "*",
        "Host names that visitors may ask for; `*.example.org` covers its subdomains, `*` everything. Health checks are always answered.",
    )
    forwarded_allow_ips: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = _setting(
        _networks,
        "",
        "The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. From anywhere else they change nothing.",
    )

    # Process
    web_concurrency: int = _setting(
        _integer(1, 64), "1", "Worker processes. One a container is best; scale with replicas."
    )
    threads: int = _setting(_integer(2, 256), "8", "Request threads of each worker process.")
    keep_alive: float = _setting(
        _duration(1, 3600),
        "620s",
        "How long an idle connection is kept; longer than the load balancer keeps it (Google's: 600s), so that the balancer closes first.",
    )
    shutdown_delay: float = _setting(
        _duration(0, 300), "5s", "After SIGTERM, how long requests are still accepted while `/ready` says no."
    )
    shutdown_grace: float = _setting(
        _duration(0, 3600), "20s", "After that, how long requests in flight may take to finish."
    )
    stuck_after: float = _setting(
        _duration(1, 86_400), "120s", "Liveness fails when every request thread has made no progress for so long."
    )

    # Health
    ready_requires: tuple[str, ...] = _setting(
        _names("sessions", "storage"),
        "",
        "Dependencies without which the service is not ready: `sessions`, `storage`, or both with a comma.",
    )
    dependency_check_interval: float = _setting(
        _duration(0.1, 300), "2s", "How often dependencies are checked in the background."
    )

    # Telemetry
    log_level: str = _setting(
        _choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "INFO", "The least severity that is logged."
    )
    log_format: str = _setting(
        _choice("json", "text"), "json", "`json` for machines, `text` for a person at a terminal."
    )
    google_cloud_project: str = _setting(_text, "", "The project that traces belong to, for links from logs to traces.")
    instance: str = _setting(_text, socket.gethostname, "This instance's name; the host name unless given.")
    version: str = _setting(_text, _package_version, "The release that runs; the package's version unless given.")
    revision: str = _setting(_text, "unknown", "The commit that the image was built from.")

    def __post_init__(self) -> None:
        faults = []
        if self.session_idle_lifetime > self.session_absolute_lifetime:
            faults.append("SESSION_IDLE_LIFETIME must not be longer than SESSION_ABSOLUTE_LIFETIME")
        if bool(self.session_tls_cert_file) != bool(self.session_tls_key_file):
            faults.append("SESSION_TLS_CERT_FILE and SESSION_TLS_KEY_FILE must be given together")
        if self.port and self.port == self.ops_port:
            faults.append("PORT and OPS_PORT must differ")
        if faults:
            raise SettingsError(faults)


def setting_fields() -> dict[str, Field[Any]]:
    """Settings' names, in capitals, and their dataclass fields."""
    return {f.name.upper(): f for f in fields(Settings)}


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from ``environ`` and the files of its ``SETTINGS_DIR``.

    An empty value is as good as none. Raises SettingsError with every fault found.
    """
    known = setting_fields()
    faults: list[str] = []
    raw = _read_folder(environ.get("SETTINGS_DIR", ""), known, faults)
    raw |= {name: environ[name] for name in known if environ.get(name)}
    values: dict[str, Any] = {}
    for name, spec in known.items():
        default = spec.metadata["default"]
        given = raw.get(name) or (default() if callable(default) else default)
        if given is None:
            faults.append(f"{name} must be set; see docs/settings.md")
            continue
        if given == "" and default == "":
            values[spec.name] = () if spec.metadata["parse"] in (_networks, _hosts) or name == "READY_REQUIRES" else ""
            continue
        try:
            values[spec.name] = spec.metadata["parse"](given)
        except ValueError as fault:
            shown = "" if spec.metadata["secret"] else f", not {given[:80]!r}"
            faults.append(f"{name} {fault}{shown}")
    if faults:
        raise SettingsError(faults)
    return Settings(**values)


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each name in ``environ`` that is close to one of ours, for a warning.

    It is a warning and no fault: the environment holds other programs' names too.
    """
    known = setting_fields()
    found = []
    for name in sorted(set(environ) - set(known) - {"SETTINGS_DIR"}):
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
        if close and close[0] not in environ:
            found.append(f"{name} is no setting; did you mean {close[0]}?")
    return found


def _read_folder(folder: str, known: Mapping[str, object], faults: list[str]) -> dict[str, str]:
    """The settings in a mounted folder. Names that begin with a dot are Kubernetes' own and are passed over."""
    if not folder:
        return {}
    if not Path(folder).is_dir():
        faults.append(f"SETTINGS_DIR must be a folder, not {folder!r}")
        return {}
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith("."):
            continue
        if path.name not in known:
            close = difflib.get_close_matches(path.name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            faults.append(f"{path.name!r} in SETTINGS_DIR is no setting{hint}")
            continue
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                faults.append(f"{path.name} in SETTINGS_DIR is larger than {_MAX_FILE_BYTES} bytes")
                continue
            found[path.name] = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{path.name} in SETTINGS_DIR can't be read: {type(error).__name__}")
    return found
