"""What every request passes on its way in, and every answer on its way out.

In: which proxy is believed, which host names are answered, which sites may write. Out: the security headers.
"""

import ipaddress
from collections.abc import Callable

from flask import Flask, Response, request
from werkzeug.datastructures import Headers

from service.settings import Settings
from service.web.errors import Problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ALWAYS_ANSWERED = frozenset({"/health", "/ready"})  # the platform asks by address, not by name

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    (
        "Content-Security-Policy",
        _CSP,
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
HSTS = ("Strict-Transport-Security", "max-age=31536000; includeSubDomains")


def install(app: Flask, settings: Settings) -> None:
    """Put the guards around every route of ``app``."""
    steps: list[Callable[[], None]] = [_note_route]
    if settings.forwarded_allow_ips:
        steps.append(_believe_proxies(settings))
    if "*" not in settings.allowed_hosts:
        steps.append(_check_host(settings.allowed_hosts))
    steps.append(check_same_site)

    def before() -> None:
        for step in steps:
            step()

    out = (*SECURITY_HEADERS, HSTS) if settings.cookie_secure else SECURITY_HEADERS

    def after(response: Response) -> Response:
        add_missing(response.headers, out)
        return response

    app.before_request(before)
    app.after_request(after)


def add_missing(headers: Headers, more: tuple[tuple[str, str], ...]) -> None:
    """Add headers, but none that the view has set itself."""
    present = {name.lower() for name, _ in headers}
    for name, value in more:
        if name.lower() not in present:
            headers.add(name, value)
    if "cache-control" not in present:
        headers.add("Cache-Control", "no-store")


def _note_route() -> None:
    """The rule's template, for metrics: the number of series must not grow with what visitors send."""
    if request.url_rule is not None:
        request.environ["seatrial.route"] = request.url_rule.rule


def check_same_site() -> None:
    """Refuse writes that another site's page makes with the visitor's cookie.

    Fetch Metadata (``Sec-Fetch-Site``, W3C) where the browser sends it, else ``Origin`` (RFC 6454). A client that sends
    neither is no browser, and nobody's cookie is abused.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        allowed = origin is None or origin.partition("://")[2].lower() == request.environ.get("HTTP_HOST", "").lower()
    if not allowed:
        raise Problem(403, "Another site may not write here.", kind="cross-site")


def _check_host(allowed: tuple[str, ...]) -> Callable[[], None]:
    names = frozenset(name for name in allowed if not name.startswith("*."))
    suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    def check() -> None:
        if request.path in ALWAYS_ANSWERED:
            return
        host = request.environ.get("HTTP_HOST", "").lower()
        # An IPv6 address keeps its brackets (RFC 3986 §3.2.2), a port goes.
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        name = name.rstrip(".")
        if name not in names and not (suffixes and name.endswith(suffixes)):
            raise Problem(400, "This host name is not served here; see ALLOWED_HOSTS.", kind="unknown-host")

    return check


def _believe_proxies(settings: Settings) -> Callable[[], None]:
    """Take the visitor's address and scheme from headers, but only as far as our own proxies vouch for them.

    ``X-Forwarded-For`` is read from its end: each trusted proxy vouches for the address before it; the first address
    that is no trusted proxy is the visitor. What stands further left anybody could have written.
    """
    networks = settings.forwarded_allow_ips

    def trusted(text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in networks)

    def believe() -> None:
        environ = request.environ
        client = environ.get("REMOTE_ADDR", "")
        if not trusted(client):
            return
        for hop in reversed([part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]):
            try:
                client = str(ipaddress.ip_address(hop))
            except ValueError:
                break
            if not trusted(client):
                break
        environ["seatrial.client_ip"] = client
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme

    return believe
