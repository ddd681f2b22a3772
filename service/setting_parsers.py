"""What a setting's text may be: parsers for settings.py.

Each takes the text and returns the value; a ValueError ends the sentence that begins with the setting's name ("must be
…"). None shows the text: the caller does, if it is not a secret. Functions with other arguments return such a parser.
An operator wrote the text, so white space around a part of a list is passed over, of whatever kind.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def text(raw: str) -> str:
    """Text in one line."""
    if any(ord(c) < 32 or ord(c) == 127 for c in raw):
        raise ValueError("must not contain control characters")
    return raw


def boolean(raw: str) -> bool:
    """``true`` or ``false``, and what people write for them."""
    if raw.lower() in ("true", "1", "yes", "on"):
        return True
    if raw.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("must be true or false")


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number."""

    def parse(raw: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", raw) or not low <= int(raw) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(raw)

    return parse


def duration(low: float, high: float) -> Callable[[str], float]:
    """A duration in seconds, from text with a unit: ms, s, m, h, d; s where there is none."""

    def parse(raw: str) -> float:
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)?", raw)
        seconds = float(match[1]) * _DURATION_UNITS[match[2] or "s"] if match else -1.0
        if not low <= seconds <= high:
            raise ValueError(f"must be a duration such as 250ms, 5s, 10m, 2h or 7d, from {low:g}s to {high:g}s")
        return seconds

    return parse


def size(low: int, high: int) -> Callable[[str], int]:
    """Bytes, from text with or without KiB, MiB or GiB."""

    def parse(raw: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15})(|KiB|MiB|GiB)", raw)
        size = int(match[1]) * _SIZE_UNITS[match[2]] if match else -1
        if not low <= size <= high:
            raise ValueError(f"must be a size in bytes or as KiB, MiB or GiB, from {low} to {high} bytes")
        return size

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """One of several words."""

    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return raw

    return parse


def names(raw: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    names = tuple(filter(None, (part.strip() for part in raw.split(","))))
    if any(not re.fullmatch(r"[a-z][a-z0-9_-]*", name) for name in names):
        raise ValueError("must be a comma-separated list of names in lower case")
    return names


def hosts(raw: str) -> tuple[str, ...]:
    """Host names without ports, in lower case; ``*`` for all, ``*.`` before a name for its subdomains."""
    hosts = tuple(filter(None, (part.strip().lower() for part in raw.split(","))))
    if any(not re.fullmatch(r"\*|(\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\]", host) for host in hosts):
        raise ValueError(
            "must be a comma-separated list of host names without ports, such as example.org or *.example.org"
        )
    return hosts


def networks(raw: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """IP addresses and networks."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in raw.split(",") if part.strip())
    except ValueError:
        raise ValueError("must be a comma-separated list of IP addresses or networks such as 10.0.0.0/8") from None


def host(raw: str) -> str:
    """An IP address."""
    try:
        return str(ipaddress.ip_address(raw))
    except ValueError:
        raise ValueError("must be an IP address to listen on, such as 0.0.0.0, 127.0.0.1 or ::") from None


def file(raw: str) -> str:
    """The path of a file that this process can read, or nothing."""
    text(raw)
    if raw and not (os.access(raw, os.R_OK) and Path(raw).is_file()):
        raise ValueError("must be the path of a file that the service can read")
    return raw


def session_url(raw: str) -> str:
    """The URL of a session store."""
    parts = _split(raw, ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix", "memcached", "memory"))
    if parts.scheme == "memory" and raw != "memory://":
        raise ValueError("must be memory:// with nothing after it")
    _check_ipv6(parts)
    if parts.scheme == "memcached":
        _check_memcached(raw)
    elif parts.scheme != "memory":
        _check_redis(parts)
    return raw


def _check_ipv6(parts: SplitResult) -> None:
    """An IPv6 address is in brackets (RFC 3986 §3.2.2), and has no zone: that means something on one machine only."""
    host = parts.netloc.rpartition("@")[2]
    if host.startswith("["):
        try:
            zone = ipaddress.IPv6Address(parts.hostname or "").scope_id
        except ValueError:
            raise ValueError("must have an IPv6 address in its brackets, as in redis://[::1]:6379") from None
        if zone is not None:
            raise ValueError("must name an IPv6 address without a zone (%eth0), as in redis://[2001:db8::1]:6379")
    elif host.count(":") > 1 and "," not in host:
        raise ValueError("must have an IPv6 address in brackets, as in redis://[::1]:6379")


def _check_memcached(raw: str) -> None:
    if "," in raw:
        raise ValueError("must name one Memcached, as in memcached://host:11211; sessions are not spread over several")
    server = re.fullmatch(r"memcached://(?:[^/@:\[\]]+|\[[^/@\]]+\]):([0-9]{1,5})", raw)
    if not server or not 1 <= int(server[1]) <= 65535:
        raise ValueError("must name a host and a port, as in memcached://host:11211")


def _check_redis(parts: SplitResult) -> None:
    try:
        port_is_valid = parts.port != 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid:
        raise ValueError("must have a port from 1 to 65535, or none")
    if parts.scheme == "unix":
        if parts.hostname or len(parts.path) < 2:
            raise ValueError("must name the socket's path from the root, as in unix:///run/redis.sock")
    elif not parts.hostname:
        raise ValueError("must name the server's host, as in redis://host:6379/0")
    elif not re.fullmatch(r"/?[0-9]{0,3}", parts.path):
        raise ValueError("must end in a database number or nothing, as in redis://host:6379/0")
    elif parts.scheme.endswith("+cluster") and (parts.path not in ("", "/", "/0") or "db" in parts.query):
        raise ValueError("must name database 0 or none: a Redis Cluster has no other")


def web_address(raw: str) -> str:
    """The ``http`` or ``https`` URL of pages, without a slash at its end; or nothing."""
    if not raw:
        return raw
    parts = _split(raw, ("https", "http"))
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be the address of a website, such as https://docs.example.org/service")
    return raw.rstrip("/")


def storage_url(raw: str) -> str:
    """The URL of an object store."""
    parts = _split(raw, ("gs", "file"))
    if parts.scheme == "gs" and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", parts.netloc):
        raise ValueError("must name a bucket, as in gs://bucket/prefix")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError("must name a folder from the root, as in file:///var/lib/files")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return raw


def _split(raw: str, schemes: tuple[str, ...]) -> SplitResult:
    """The URL's parts. Its scheme must be in lower case: not every client library accepts others."""
    shown = ", ".join(f"{scheme}://" for scheme in schemes)
    if not raw.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValueError(f"must begin with one of {shown}")
    text(unquote(raw))
    try:
        return urlsplit(raw)
    except ValueError:
        raise ValueError(f"must be a URL with one of the schemes {shown}") from None
