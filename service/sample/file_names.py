"""The names that a file may have, and how a name is sent to a browser."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from service.http.errors import Problem

MAX_NAME_BYTES = 255


def from_path(environ: Mapping[str, Any], route_prefix: str) -> str:
    """The name at the end of a request's path, checked.

    It is read from the path's bytes: the framework replaces bytes that are not UTF-8 by U+FFFD, which would make two
    names one. Raises a 400 Problem.
    """
    path = str(environ.get("PATH_INFO", "")).encode("latin-1")
    try:
        return check(path[len(route_prefix) :].decode("utf-8"))
    except UnicodeDecodeError:
        raise Problem(400, "A file's name must be UTF-8.", kind="bad-name") from None


def check(name: str) -> str:
    """The name in Unicode's form NFC, so that names that look alike because of composition are one name.

    1 to 255 bytes of UTF-8, no control characters, no ``/``, not ``.`` or ``..``. Raises a 400 Problem.
    """
    name = unicodedata.normalize("NFC", name)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Problem(400, "A file's name must be UTF-8.", kind="bad-name") from None
    if not 1 <= size <= MAX_NAME_BYTES:
        raise Problem(400, f"A file's name must have 1 to {MAX_NAME_BYTES} bytes; this has {size}.", kind="bad-name")
    if "/" in name or name in (".", ".."):
        raise Problem(400, "A file's name must not contain '/', nor be '.' or '..'.", kind="bad-name")
    if re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        raise Problem(400, "A file's name must not contain control characters.", kind="bad-name")
    return name


def check_prefix(prefix: str) -> str:
    """The beginning of a name, checked as a name is. "", "." and ".." are allowed: more comes after them."""
    return prefix if prefix in ("", ".", "..") else check(prefix)


def content_disposition(name: str, *, inline: bool) -> str:
    """The header's value in both forms (RFC 6266 §4.3 and appendix D): plain for old clients, RFC 8187 for the rest."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    # Decomposed, a name may look like a path (U+FF0F becomes a slash).
    plain = re.sub(r'[^ -~]|["\\%/]', "_", plain)
    plain = "file" if plain in ("", ".", "..") else plain
    # RFC 8187 §3.2.1: attr-char; quote() keeps "-._~" and letters, digits.
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='!#$&+^`|')}"
