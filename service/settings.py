"""Every setting: its default, its check and its meaning.

Read from the environment and from the files of a mounted folder (``SETTINGS_DIR``, one file a setting, as Kubernetes
mounts a Secret); the environment wins. ``load()`` names every error at once. ``docs/settings.md`` is made from here.
A feature may have settings of its own, a dataclass of ``setting()`` fields; ``Settings.of()`` gives them.
"""

import difflib
import ipaddress
import math
import socket
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar, cast

from service import setting_parsers as parse
from service.name import NAME

T = TypeVar("T")

_MAX_FILE_BYTES = 64 * 1024  # a setting's file; a certificate bundle is named by path, not put in a setting


class SettingsError(Exception):
    """The settings can't be used. ``errors``: a sentence for each error; none shows a secret."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


def setting(
    parser: Callable[[str], T], default: str | Callable[[], str] | None, doc: str, *, secret: bool = False
) -> T:
    """One setting. ``default`` is as it would be written in the environment; None: the setting must be given."""
    metadata = {"parser": parser, "default": default, "doc": doc, "secret": secret}
    return cast("T", field(metadata=metadata, repr=not secret, kw_only=True))


def _package_version() -> str:
    try:
        return version(NAME)
    except PackageNotFoundError:
        project = Path(__file__).parent.parent / "pyproject.toml"  # where the service runs as it was checked out
        if not project.is_file():
            return "0+unknown"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


@dataclass(frozen=True)
class Settings:
    """All settings, checked. A field's name in capitals is the setting's name. Secrets are left out of ``repr``.

    Durations are floats in seconds, sizes are whole bytes.
    """

    # A setting is one row, as in a table.
    # fmt: off
    # Stores
    session_url: str = setting(parse.session_url, None, "The session store: `redis://`, `rediss://` or `unix://` (one Redis or Valkey), `redis+cluster://` or `rediss+cluster://` (any node of a Redis Cluster), `memcached://host:port` (one server), or `memory://` (this process only; lost at restart).", secret=True)
    session_username: str = setting(parse.text, "", "The Redis user, if it is not in `SESSION_URL`.")
    session_password: str = setting(parse.text, "", "The Redis password, if it is not in `SESSION_URL`.", secret=True)
    session_tls_ca_file: str = setting(parse.file, "", "The CA that signed the Redis server's certificate; the system's CAs when empty.")
    session_tls_cert_file: str = setting(parse.file, "", "The client certificate to show to Redis.")
    session_tls_key_file: str = setting(parse.file, "", "The client certificate's key.")
    session_timeout: float = setting(parse.duration(0.01, 10), "250ms", "The longest that a request waits for the session store.")
    session_idle_lifetime: float = setting(parse.duration(1, 31_536_000), "7d", "A session that has not been used for this long ends.")
    session_absolute_lifetime: float = setting(parse.duration(1, 31_536_000), "30d", "A session ends this long after it began, even if it is in use.")
    session_max_bytes: int = setting(parse.size(256, 1_000_000), "16KiB", "The largest size of a session, as it is stored.")
    cookie_secure: bool = setting(parse.boolean, "true", "Send the cookie over HTTPS only (`__Host-session`), and HSTS. Set it to `false` only for plain HTTP on your own machine.")
    storage_url: str = setting(parse.storage_url, None, "The object store: `gs://bucket/prefix` (Google Cloud Storage, by Application Default Credentials) or `file:///folder`.")
    storage_timeout: float = setting(parse.duration(0.1, 300), "10s", "The longest that a call to the object store may take, and that a transfer may go without progress.")
    storage_retry_budget: float = setting(parse.duration(0, 300), "15s", "The longest that a call to the object store is repeated, if it is safe to repeat.")

    # Limits
    max_upload_bytes: int = setting(parse.size(0, 2**42), "1GiB", "The largest request body that a route stores.")
    head_timeout: float = setting(parse.duration(0.1, 300), "10s", "The longest that a client may take to send a request head and a small body.")
    io_timeout: float = setting(parse.duration(0.1, 300), "30s", "The longest that a transfer may go without a byte.")
    min_transfer_rate: int = setting(parse.size(0, 2**30), "1KiB", "The slowest transfer that is served, in bytes a second, after `IO_TIMEOUT` has passed; for the object store, after `STORAGE_TIMEOUT`.")
    queue_timeout: float = setting(parse.duration(0.05, 300), "1s", "How long requests may queue for a thread. After that, until the queue has been empty once, each one that has waited for a quarter of this time is refused with 503.")
    max_connections: int = setting(parse.integer(10, 100_000), "1000", "The most open connections to the app listener, for each worker process.")

    # Listeners
    host: str = setting(parse.host, "0.0.0.0", "The address that both listeners listen on.")  # noqa: S104 -- a container is reached from outside
    port: int = setting(parse.integer(0, 65535), "8080", "The app listener's port, for visitors. 0 is any free port.")
    ops_port: int = setting(parse.integer(0, 65535), "9090", "The ops listener's port, for the platform: metrics and full health. 0 is any free port.")
    allowed_hosts: tuple[str, ...] = setting(parse.hosts, "*", "The host names that are served; `*.example.org` covers its subdomains, `*` every name. `/health` and `/ready` are served on every name.")
    forwarded_allow_ips: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = setting(parse.networks, "", "The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. From others these headers change nothing.")

    # Process
    web_concurrency: int = setting(parse.integer(1, 64), "1", "Worker processes. One for each container is best; scale with replicas.")
    threads: int = setting(parse.integer(2, 256), "8", "Request threads of each worker process.")
    keep_alive: float = setting(parse.duration(1, 3600), "620s", "How long an idle connection is kept; longer than the load balancer keeps it (Google's: 600s), so that the balancer closes first.")
    shutdown_delay: float = setting(parse.duration(0, 300), "5s", "After SIGTERM, how long requests are still accepted while `/ready` is a 503.")
    shutdown_grace: float = setting(parse.duration(0, 3600), "20s", "After that, how long requests in flight may take to finish.")
    stuck_after: float = setting(parse.duration(1, 86_400), "120s", "Liveness fails when no request thread has made progress for this long.")

    # Health
    ready_requires: tuple[str, ...] = setting(parse.names, "", "The dependencies that readiness needs: `sessions`, `storage`, or both, separated by a comma.")
    dependency_check_interval: float = setting(parse.duration(0.1, 300), "2s", "How often dependencies are checked in the background.")

    # Telemetry
    log_level: str = setting(parse.choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "INFO", "The lowest severity that is logged.")
    log_format: str = setting(parse.choice("json", "text"), "json", "`json` for machines, `text` for a person at a terminal.")
    google_cloud_project: str = setting(parse.text, "", "The project that traces belong to, for links from logs to traces.")
    instance: str = setting(parse.text, socket.gethostname, "This instance's name; the host name when empty.")
    version: str = setting(parse.text, _package_version, "The release that runs; the package's version when empty.")
    revision: str = setting(parse.text, "unknown", "The commit that the image was built from.")
    # fmt: on

    # The settings of features, by their dataclass.
    features: Mapping[type, Any] = field(default_factory=dict, repr=False, kw_only=True)

    @property
    def transfer_slots(self) -> int:
        """How many request threads may serve a transfer at once: three fewer than all, and at least one."""
        return max(1, self.threads - 3)

    def of(self, feature: type[T]) -> T:
        """A feature's own settings. KeyError if they were not loaded."""
        return cast("T", self.features[feature])


def setting_fields(*features: type) -> dict[str, Field[Any]]:
    """Settings' names, in capitals, and their dataclass fields: the service's own, then those of features."""
    return {f.name.upper(): f for group in (Settings, *features) for f in fields(group) if "parser" in f.metadata}


def load(environ: Mapping[str, str], *features: type, dependencies: Collection[str] | None = None) -> Settings:
    """Settings from ``environ`` and the files of its ``SETTINGS_DIR``; an empty value counts as none.

    ``features``: the dataclasses of features' own settings. ``dependencies``: what READY_REQUIRES may name; None: anything.
    Raises SettingsError with every error that was found.
    """
    known = setting_fields(*features)
    errors: list[str] = []
    raw = _read_folder(environ.get("SETTINGS_DIR", ""), known, errors)
    raw |= {name: environ[name] for name in known if environ.get(name)}
    values: dict[str, Any] = {}
    for name, spec in known.items():
        default = spec.metadata["default"]
        given = raw.get(name) or (default() if callable(default) else default)
        if given is None:
            errors.append(f"{name} must be set; see docs/settings.md")
            continue
        try:
            values[spec.name] = spec.metadata["parser"](given)
        except ValueError as error:
            shown = "" if spec.metadata["secret"] else f", not {given[:80]!r}"
            errors.append(f"{name} {error}{shown}")
    if dependencies is not None and set(values.get("ready_requires", ())) - set(dependencies):
        given = ", ".join(values["ready_requires"])
        errors.append(
            f"READY_REQUIRES must be a comma-separated list out of {' and '.join(dependencies)}, not {given[:80]!r}"
        )
    errors += _contradictions(values)
    if errors:
        raise SettingsError(errors)
    groups = {feature: feature(**{f.name: values.pop(f.name) for f in fields(feature)}) for feature in features}
    return Settings(**values, features=groups)


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """A sentence for each pair of settings that contradict each other."""
    errors = []
    if values.get("session_idle_lifetime", 0) > values.get("session_absolute_lifetime", math.inf):
        errors.append("SESSION_IDLE_LIFETIME must not be longer than SESSION_ABSOLUTE_LIFETIME")
    certificate, key = (values.get(f"session_tls_{part}_file") for part in ("cert", "key"))
    if None not in (certificate, key) and bool(certificate) != bool(key):
        errors.append("SESSION_TLS_CERT_FILE and SESSION_TLS_KEY_FILE must be given together")
    if values.get("port") and values["port"] == values.get("ops_port"):
        errors.append("PORT and OPS_PORT must differ")
    return errors


def misspelt(environ: Mapping[str, str], *features: type) -> list[str]:
    """A warning for each name in ``environ`` that is close to a setting's. It may be another program's."""
    known = setting_fields(*features)
    found = []
    for name in sorted(set(environ) - set(known) - {"SETTINGS_DIR"}):
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.88)
        if close and not environ.get(close[0]):
            found.append(f"{name} is not a setting; did you mean {close[0]}?")
    return found


def _read_folder(folder: str, known: Mapping[str, object], errors: list[str]) -> dict[str, str]:
    """The settings in a mounted folder. Names that begin with a dot are Kubernetes' own."""
    if not folder:
        return {}
    try:
        paths = sorted(Path(folder).iterdir())
    except (OSError, ValueError) as error:
        errors.append(f"SETTINGS_DIR must be a folder that can be read, not {folder[:80]!r} ({_reason(error)})")
        return {}
    found = {}
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.name not in known:
            close = difflib.get_close_matches(path.name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            errors.append(f"{path.name[:80]!r} in SETTINGS_DIR is not a setting{hint}")
            continue
        try:
            found[path.name] = _read_file(path)
        except (OSError, ValueError) as error:
            errors.append(f"{path.name} in SETTINGS_DIR can't be read: {_reason(error)}")
    return found


def _read_file(path: Path) -> str:
    if not path.is_file():  # opening a pipe would wait for a writer
        raise OSError(0, "it is not a file")
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise OSError(0, f"it is larger than {_MAX_FILE_BYTES} bytes")
    return content.decode().strip()  # an operator's file: an editor ends it with a line break


def _reason(error: Exception) -> str:
    """Why a file can't be read. Never what is in it."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is not a path"
