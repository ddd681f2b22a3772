"""The session's cookie: 256 random bits in base64url, and nothing else.

It is persistent and lives as long as a session can (``Max-Age`` is the absolute lifetime). Whether the session still
exists only the store knows; so reading it, which slides the idle lifetime, sends no cookie.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from werkzeug import Response

_WHITE_SPACE = " \t"  # RFC 6265 §5.2 knows no other; str.strip() would also take U+0085 and U+00A0 from latin-1 text
ID_BYTES = 32
# 43 characters of 6 bits hold 2 bits more than 256; they are 0 in what we write, so that an id has one spelling.
_VALUE = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class Cookie:
    """How the cookie is read and written. ``max_age`` is in seconds."""

    def __init__(self, *, secure: bool, max_age: float) -> None:
        # RFC 6265bis §4.1.3.2: browsers take __Host- only with Secure, with Path=/ and without Domain.
        self.name = "__Host-session" if secure else "session"
        self._secure = secure
        self._max_age = int(max_age)

    def read(self, header: str) -> bytes | None:
        """The id in a Cookie header. None where there is none, more than one, or one that we can't have written."""
        pairs = [part.partition("=") for part in header.split(";")]
        found = [value.strip(_WHITE_SPACE) for name, _, value in pairs if name.strip(_WHITE_SPACE) == self.name]
        if len(found) != 1 or not _VALUE.fullmatch(found[0]):
            return None
        return urlsafe_b64decode(found[0] + "=")

    def write(self, response: Response, session_id: bytes) -> None:
        """Give the browser the id."""
        value = urlsafe_b64encode(session_id).rstrip(b"=").decode()
        response.set_cookie(self.name, value, max_age=self._max_age, secure=self._secure, httponly=True, samesite="Lax")

    def remove(self, response: Response) -> None:
        """Make the browser forget the id."""
        response.delete_cookie(self.name, secure=self._secure, httponly=True, samesite="Lax")


def new_id() -> bytes:
    """An id that nobody knows yet."""
    return secrets.token_bytes(ID_BYTES)


def sealed(session_id: bytes, old_id: bytes, secret: str) -> bytes:
    """The id, for whoever has the old one and the client's secret. The same function opens it.

    A one-time pad, because a session moves away from an id once.
    """
    pad = hmac.digest(secret.encode(), old_id, "sha256")
    return bytes(a ^ b for a, b in zip(session_id, pad, strict=True))


def key_of(session_id: bytes) -> str:
    """The key in the store. A key that leaks opens no session."""
    return sha256(session_id).hexdigest()
