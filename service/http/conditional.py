"""Conditional and range requests, by RFC 9110 §13 and §14.

An object's generation is its validator: it changes with every write, so the ETag made from it is strong.
"""

import re
from datetime import datetime
from email.utils import formatdate

from werkzeug.datastructures import Headers
from werkzeug.http import parse_date

from service.storage.store import ObjectInfo


def etag(info: ObjectInfo) -> str:
    """The strong entity tag of this generation, with its quotes."""
    return f'"{info.generation:x}"'


def last_modified(info: ObjectInfo) -> str:
    """The HTTP date of the last write, cut to the second."""
    return formatdate(int(info.updated), usegmt=True)


def write_is_allowed(headers: Headers, current: ObjectInfo | None) -> bool:
    """Whether a PUT or DELETE may go on (else 412). §13.2.2, steps 1 to 3."""
    if "If-Match" in headers:
        if not _listed(headers["If-Match"], current, weak=False):
            return False
    elif "If-Unmodified-Since" in headers and not _unmodified_since(headers["If-Unmodified-Since"], current):
        return False
    return not ("If-None-Match" in headers and _listed(headers["If-None-Match"], current, weak=True))


def wants_nothing(headers: Headers) -> bool:
    """Whether a PUT is to make what is not there, and that is its only condition (§13.1.2)."""
    return headers.get("If-None-Match", "").strip() == "*" and write_is_allowed(headers, None)


def read_status(headers: Headers, current: ObjectInfo) -> int:
    """What a GET or HEAD is answered with, before ranges: 200, 304 or 412. §13.2.2, steps 1 to 4."""
    if "If-Match" in headers:
        if not _listed(headers["If-Match"], current, weak=False):
            return 412
    elif "If-Unmodified-Since" in headers and not _unmodified_since(headers["If-Unmodified-Since"], current):
        return 412
    if "If-None-Match" in headers:
        return 304 if _listed(headers["If-None-Match"], current, weak=True) else 200
    if "If-Modified-Since" in headers:
        since = _date(headers["If-Modified-Since"])
        if since is not None and int(current.updated) <= since.timestamp():
            return 304
    return 200


def requested_range(headers: Headers, current: ObjectInfo) -> tuple[int, int] | None:
    """The one range that is asked for, start (inclusive) and end (exclusive); None for the whole.

    §14.2: a Range that is malformed, of another unit, of several ranges, or whose If-Range does not hold, is passed
    over. Raises ValueError where the range can't be satisfied (416).
    """
    if "If-Range" in headers and not _if_range_holds(headers["If-Range"], current):
        return None
    range_of_bytes = r"bytes=[ \t]*([0-9]{0,4000})-([0-9]{0,4000})[ \t]*"  # Python's int takes 4300 digits
    match = re.fullmatch(range_of_bytes, headers.get("Range", ""), re.ASCII | re.IGNORECASE)
    if not match or match[0].rstrip().endswith("=-"):
        return None
    first, last = match[1], match[2]
    if not first:  # the last so many bytes
        if not last:
            return None
        start, end = max(0, current.size - int(last)), current.size
    else:
        start, end = int(first), min(int(last) + 1, current.size) if last else current.size
        if last and int(last) < start:
            return None  # §14.1.1: an invalid range is passed over
    if start >= end or start >= current.size:
        raise ValueError("the range is beyond the file's end")
    return start, end


def _listed(header: str, current: ObjectInfo | None, *, weak: bool) -> bool:
    """Whether ``*`` or one of the listed tags is the current one; weak tags count only where ``weak`` (§8.8.3.2)."""
    if current is None:
        return False
    if header.strip() == "*":
        return True
    tags = re.findall(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")', header)
    return any(tag == etag(current) and (weak or not is_weak) for is_weak, tag in tags)


def _unmodified_since(header: str, current: ObjectInfo | None) -> bool:
    since = _date(header)
    if since is None:  # §13.1.4: a date that is none is passed over
        return True
    return current is not None and int(current.updated) <= since.timestamp()


def _date(header: str) -> datetime | None:
    try:
        return parse_date(header)
    except OverflowError:  # a year that no datetime has
        return None


def _if_range_holds(header: str, current: ObjectInfo) -> bool:
    """§13.1.5: a strong tag that matches, or exactly the Last-Modified date.

    A date is a strong validator only if it is sure that nothing changed twice in its second (§8.8.2.2); that can't be
    known here, so a date never holds and the whole file is sent.
    """
    return header.strip() == etag(current)
