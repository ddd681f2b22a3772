"""Conditional and range requests, by RFC 9110 §13 and §14."""

import re
from dataclasses import dataclass
from datetime import datetime

from werkzeug.datastructures import Headers
from werkzeug.http import http_date, parse_date, parse_etags, quote_etag


@dataclass(frozen=True)
class Representation:
    """What a condition is about: what is there now (§8.8)."""

    tag: str  # the entity tag without its quotes; it changes with every write, so it is strong
    modified: int  # seconds since the epoch
    size: int  # bytes

    @property
    def etag(self) -> str:
        """The value of the ETag header."""
        return quote_etag(self.tag)

    @property
    def last_modified(self) -> str:
        """The value of the Last-Modified header."""
        return http_date(self.modified)


def write_is_allowed(headers: Headers, current: Representation | None) -> bool:
    """Whether a PUT or DELETE may go on (else 412). §13.2.2, steps 1 to 3."""
    if "If-Match" in headers:
        if not _listed(headers["If-Match"], current, weak=False):
            return False
    elif "If-Unmodified-Since" in headers and not _unmodified_since(headers["If-Unmodified-Since"], current):
        return False
    return not ("If-None-Match" in headers and _listed(headers["If-None-Match"], current, weak=True))


def wants_nothing(headers: Headers) -> bool:
    """Whether a PUT is to make what is not there, and that is its only condition (§13.1.2)."""
    return headers.get("If-None-Match", "").strip(" \t") == "*" and write_is_allowed(headers, None)


def read_status(headers: Headers, current: Representation) -> int:
    """The status of the response to a GET or HEAD, before ranges: 200, 304 or 412. §13.2.2, steps 1 to 4."""
    if "If-Match" in headers:
        if not _listed(headers["If-Match"], current, weak=False):
            return 412
    elif "If-Unmodified-Since" in headers and not _unmodified_since(headers["If-Unmodified-Since"], current):
        return 412
    if "If-None-Match" in headers:
        return 304 if _listed(headers["If-None-Match"], current, weak=True) else 200
    if "If-Modified-Since" in headers:
        since = _date(headers["If-Modified-Since"])
        if since is not None and current.modified <= since.timestamp():
            return 304
    return 200


def requested_range(headers: Headers, current: Representation) -> tuple[int, int] | None:
    """The one range that is asked for, start (inclusive) and end (exclusive); None for the whole.

    §14.2: a Range that is malformed, of another unit, of several ranges, or whose If-Range does not hold, is passed
    over. Raises ValueError where the range can't be satisfied (416).
    """
    # Not by werkzeug: its Range.range_for_length finds no range where "bytes=-5000" asks for the end of 1000 bytes,
    # which is the whole (§14.1.2), and does not tell a malformed range (200) from one that can't be satisfied (416).
    if "If-Range" in headers and not _if_range_holds(headers["If-Range"], current):
        return None
    range_of_bytes = r"bytes=[ \t]*([0-9]{0,4000})-([0-9]{0,4000})[ \t]*"  # Python's int takes 4300 digits
    match = re.fullmatch(range_of_bytes, headers.get("Range", ""), re.ASCII | re.IGNORECASE)
    if not match or not (match[1] or match[2]):
        return None
    first, last = match[1], match[2]
    if not first:  # the last so many bytes
        start, end = max(0, current.size - int(last)), current.size
    else:
        start, end = int(first), min(int(last) + 1, current.size) if last else current.size
        if last and int(last) < start:
            return None  # §14.1.1: an invalid range is passed over
    if start >= end or start >= current.size:
        raise ValueError("the range is beyond the file's end")
    return start, end


def _listed(header: str, current: Representation | None, *, weak: bool) -> bool:
    """Whether ``*`` or one of the listed tags is the current one; weak tags count only where ``weak`` (§8.8.3.2)."""
    if current is None:
        return False
    tags = parse_etags(header.strip(" \t"))
    if tags.star_tag:
        return True
    # parse_etags takes a word without quotes for a tag, which it is not (§8.8.3).
    return current.etag in header and (tags.contains_weak(current.tag) if weak else tags.contains(current.tag))


def _unmodified_since(header: str, current: Representation | None) -> bool:
    since = _date(header)
    if since is None:  # §13.1.4: a header that is no date is passed over
        return True
    return current is not None and current.modified <= since.timestamp()


def _date(header: str) -> datetime | None:
    try:
        return parse_date(header)
    except OverflowError:  # a year that no datetime has
        return None


def _if_range_holds(header: str, current: Representation) -> bool:
    """§13.1.5: a strong tag that matches, or exactly the Last-Modified date.

    A date is a strong validator only if it is sure that nothing changed twice in its second (§8.8.2.2); that can't be
    known here, so a date never holds and the whole file is sent.
    """
    return header.strip(" \t") == current.etag
