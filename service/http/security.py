"""What every request passes on its way in, and every response on its way out.

In: which proxies are believed, which hosts are served, which sites may write, and OPTIONS of the whole server. Out: the
security headers, and a slot for a large response.
"""

import ipaddress
import re
from urllib.parse import quote, urlsplit, urlunsplit

from flask import Flask, Request, Response
from flask.globals import request_ctx
from werkzeug.routing import RequestRedirect

from service.http.errors import Problem
from service.http.transfer_slots import SMALL, TransferSlots
from service.settings import Settings

# RFC 3986 §3.2.2, without the characters that no name of a host has.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,255})(?::[0-9]{0,5})?", re.ASCII)

# RFC 7239 §6, which some proxies follow in X-Forwarded-For: an address, with a port perhaps, and IPv6 in brackets then.
# An IPv6 address alone has neither. No zone (%eth0): it could be any text, and is nothing outside of its machine.
_FORWARDED_FOR = re.compile(r'(")?(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?(?(1)")|([0-9A-Fa-f:.]+)', re.ASCII)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SERVED_ON_ANY_HOST = frozenset({"/health", "/ready"})  # the platform asks by address, not by name

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HSTS = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}


def register(app: Flask, settings: Settings, transfers: TransferSlots) -> None:
    """Put the checks before every route of ``app``."""
    any_host = "*" in settings.allowed_hosts

    @app.before_request
    def before() -> Response | None:
        request = request_ctx.request  # looked up once, and not at each use
        _note_route(request)
        if settings.forwarded_allow_ips:
            _believe_proxies(request, settings.forwarded_allow_ips)
        _decide_host(request)
        if isinstance(request.routing_exception, RequestRedirect):
            _redirect_here(request.routing_exception)
        if not any_host and request.path not in SERVED_ON_ANY_HOST:
            _check_host(request, settings.allowed_hosts)
        _check_coding(request)
        if request.method not in SAFE_METHODS:
            _check_same_site(request)
        return _options(app) if _is_for_the_server(request) else None

    @app.after_request
    def after(response: Response) -> Response:
        is_large = not response.direct_passthrough and (response.content_length or 0) > SMALL
        if is_large and request_ctx.request.method != "HEAD":
            return transfers.limit(response)
        return response


def response_headers(settings: Settings) -> dict[str, str]:
    """The headers of every response, unless its view has set them itself. The middleware adds them."""
    # Not for security: which instance it was (/api/instance says it too).
    served_by = {"X-Served-By": quote(settings.instance, safe=" !#$&'()*+,/:;=?@[]^`{|}")}
    return HEADERS | served_by | (HSTS if settings.cookie_secure else {})


def _check_coding(request: Request) -> None:
    """The only transfer coding that is known is ``chunked`` (RFC 9112 §6.1)."""
    # lower() is safe for headers: WSGI's text is Latin-1, where it makes no ASCII letter of another one.
    if request.environ.get("HTTP_TRANSFER_ENCODING", "chunked").strip(" \t").lower() != "chunked":
        raise Problem(501, "Send the body with Content-Length, or with chunked as its only transfer coding.")


def _note_route(request: Request) -> None:
    """The rule's template, for metrics: the number of series must not grow with what clients send."""
    if request.url_rule is not None:
        request.environ["service.route"] = request.url_rule.rule


def _is_for_the_server(request: Request) -> bool:
    """Whether it is OPTIONS for the server as a whole: ``*``, or an absolute URL without a path (RFC 9112 §3.2.4)."""
    environ = request.environ
    return request.method == "OPTIONS" and environ["PATH_INFO"] in ("*", "") and not environ["QUERY_STRING"]


def _options(app: Flask) -> Response:
    """What some route or other allows. 200, because it must have a Content-Length, and a 204 none (RFC 9110 §8.6)."""
    methods = set[str]().union(*(rule.methods or () for rule in app.url_map.iter_rules()))
    return Response(headers={"Allow": ", ".join(sorted(methods))})


def _check_same_site(request: Request) -> None:
    """Refuse writes that another site's page makes with the visitor's cookie.

    Fetch Metadata (``Sec-Fetch-Site``, W3C) where the browser sends it, else ``Origin`` (RFC 6454). A client that sends
    neither is not a browser, so it sends only its own cookie.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        allowed = origin is None or origin.partition("://")[2].lower() == request.environ.get("HTTP_HOST", "").lower()
    if not allowed:
        raise Problem(403, "A page of another site may not write here. Open this site's own page.", kind="cross-site")


def _decide_host(request: Request) -> None:
    """The host that the request is for: the target's authority if it has one, else ``Host`` (RFC 9112 §3.2, §3.2.2).

    It is put into the environment, for everything that reads the host later. A 400 Problem if it is missing or
    malformed.
    """
    environ = request.environ
    host, target = environ.get("HTTP_HOST"), environ.get("RAW_URI", "/")
    if not target.startswith("/"):
        host = target.partition("://")[2].partition("/")[0].partition("?")[0] or host
    if host is None and environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return
    if not _HOST.fullmatch(host or ""):
        raise Problem(400, "The request must have one Host header, and a valid one (RFC 9112 §3.2).", kind="bad-host")
    environ["HTTP_HOST"] = host


def _redirect_here(redirect: RequestRedirect) -> None:
    """Make the router's redirect relative (RFC 9110 §10.2.2): its host was taken before it was checked."""
    target = urlsplit(redirect.new_url)
    redirect.new_url = urlunsplit(("", "", "/" + target.path.lstrip("/"), target.query, ""))


def _check_host(request: Request, allowed: tuple[str, ...]) -> None:
    # Not by Flask's TRUSTED_HOSTS: werkzeug's host_is_trusted lets ".example.com" match example.com itself, does
    # not match EXAMPLE.org, "example.org." or [::1], and Flask asks it before /health could be let through.
    host = request.environ.get("HTTP_HOST", "").lower()
    # An IPv6 address keeps its brackets (RFC 3986 §3.2.2), a port goes.
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0].rstrip(".")
    if name not in allowed and not any(name.endswith(suffix[1:]) for suffix in allowed if suffix.startswith("*.")):
        raise Problem(400, "This host name is not among ALLOWED_HOSTS.", kind="unknown-host")


def _believe_proxies(request: Request, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> None:
    """Take the client's address and scheme from headers, but only as far as our own proxies vouch for them.

    ``X-Forwarded-For`` is read from its end: each trusted proxy vouches for the address before it; the first address
    that is not a trusted proxy's is the client's. What is further left may be forged.
    """

    def trusted(address: _Address | None) -> bool:
        return address is not None and any(address in network for network in networks)

    environ = request.environ
    client = _address(environ.get("REMOTE_ADDR", ""))
    if not trusted(client):
        return
    for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        match = _FORWARDED_FOR.fullmatch(hop.strip(" \t"))
        address = _address(match[2] or match[3] or match[4]) if match else None
        if address is None:
            break
        client = address
        if not trusted(client):
            break
    environ["service.client_ip"] = str(client)
    scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip(" \t").lower()
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme


def _address(text: str) -> _Address | None:
    """The address, or None for other text. A listener on ``::`` sees IPv4 as ``::ffff:…`` (RFC 4291 §2.5.5.2)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
