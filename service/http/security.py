"""What every request passes on its way in, and every answer on its way out.

In: which proxy is believed, which host names are answered, which sites may write. Out: the security headers.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from flask import Flask, Request, request
from werkzeug.routing import RequestRedirect

from service.http.errors import Problem
from service.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# RFC 3986 §3.2.2, without what no name of a host has.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,255})(?::[0-9]{0,5})?", re.ASCII)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

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


def register(app: Flask, settings: Settings) -> None:
    """Put the guards around every route of ``app``."""
    steps: list[Callable[[Request], None]] = [_note_route]
    if settings.forwarded_allow_ips:
        steps.append(_believe_proxies(settings))
    steps += [_decide_host, _redirect_here]
    if "*" not in settings.allowed_hosts:
        steps.append(_check_host(settings.allowed_hosts))
    steps += [_check_coding, check_same_site]

    def before() -> None:
        for step in steps:
            step(request)

    # Not for security: which instance it was, on every answer (/api/instance tells it too).
    served_by = ("X-Served-By", quote(settings.instance, safe=" !#$&'()*+,/:;=?@[]^`{|}"))
    out = (*SECURITY_HEADERS, served_by, *((HSTS,) if settings.cookie_secure else ()))

    app.before_request(before)
    app.wsgi_app = _with_headers(app.wsgi_app, out)  # type: ignore[method-assign, assignment] # Flask's documented way to wrap the application


def _with_headers(app: "WSGIApplication", more: tuple[tuple[str, str], ...]) -> "WSGIApplication":
    """Every answer has these headers, but for those that the view has set itself.

    Here, where headers are a list: Flask's own way, ``after_request``, checks each of them again for each answer.
    """
    by_name = [(name.lower(), (name, value)) for name, value in (*more, ("Cache-Control", "no-store"))]

    def secured(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            present = {name.lower() for name, _ in headers}
            headers += [header for name, header in by_name if name not in present]
            return start_response(status, headers, exc_info)

        return app(environ, begin)

    return secured


def _note_route(request: Request) -> None:
    """The rule's template, for metrics: the number of series must not grow with what visitors send."""
    if request.url_rule is not None:
        request.environ["service.route"] = request.url_rule.rule


def check_same_site(request: Request) -> None:
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


def _decide_host(request: Request) -> None:
    """The host that is asked for: the target's authority where it has one, else ``Host`` (RFC 9112 §3.2, §3.2.2).

    Left in the environment for whatever else looks at it. A 400 Problem where it is missing or malformed.
    """
    environ = request.environ
    host, target = environ.get("HTTP_HOST"), environ.get("RAW_URI", "/")
    if not target.startswith("/"):
        host = target.partition("://")[2].partition("/")[0].partition("?")[0] or host
    if host is None and environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return
    if not _HOST.fullmatch(host or ""):
        raise Problem(400, "The request must have one Host, and a valid one (RFC 9112 §3.2).", kind="bad-host")
    environ["HTTP_HOST"] = host


def _redirect_here(request: Request) -> None:
    """Make the router's redirects relative (RFC 9110 §10.2.2): it takes the host from where nobody has checked it."""
    redirect = request.routing_exception
    if isinstance(redirect, RequestRedirect):
        target = urlsplit(redirect.new_url)
        redirect.new_url = urlunsplit(("", "", "/" + target.path.lstrip("/"), target.query, ""))


def _check_coding(request: Request) -> None:
    """Of transfer codings only ``chunked`` is known (RFC 9112 §6.1)."""
    coding = request.environ.get("HTTP_TRANSFER_ENCODING")
    if coding is not None and coding.strip().lower() != "chunked":
        raise Problem(501, "Of transfer codings only chunked is understood.")


def _check_host(allowed: tuple[str, ...]) -> Callable[[Request], None]:
    # Not by Flask's TRUSTED_HOSTS: werkzeug's host_is_trusted lets ".example.com" match example.com itself, does
    # not match EXAMPLE.org, "example.org." or [::1], and Flask asks it before /health could be let through.
    names = frozenset(name for name in allowed if not name.startswith("*."))
    suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    def check(request: Request) -> None:
        if request.path in ALWAYS_ANSWERED:
            return
        host = request.environ.get("HTTP_HOST", "").lower()
        # An IPv6 address keeps its brackets (RFC 3986 §3.2.2), a port goes.
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        name = name.rstrip(".")
        if name not in names and not (suffixes and name.endswith(suffixes)):
            raise Problem(400, "This host name is not served here; see ALLOWED_HOSTS.", kind="unknown-host")

    return check


def _believe_proxies(settings: Settings) -> Callable[[Request], None]:
    """Take the visitor's address and scheme from headers, but only as far as our own proxies vouch for them.

    ``X-Forwarded-For`` is read from its end: each trusted proxy vouches for the address before it; the first address
    that is no trusted proxy is the visitor. What stands further left anybody could have written.
    """
    networks = settings.forwarded_allow_ips

    def trusted(address: _Address | None) -> bool:
        return address is not None and any(address in network for network in networks)

    def believe(request: Request) -> None:
        environ = request.environ
        client = _address(environ.get("REMOTE_ADDR", ""))
        if not trusted(client):
            return
        for hop in reversed([part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]):
            address = _address(hop)
            if address is None:
                break
            client = address
            if not trusted(client):
                break
        environ["service.client_ip"] = str(client)
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme

    return believe


def _address(text: str) -> _Address | None:
    """The address, None where it is none. A listener on ``::`` sees IPv4 as ``::ffff:…`` (RFC 4291 §2.5.5.2)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
