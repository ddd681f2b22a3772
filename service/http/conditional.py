"""Conditional and range requests, by RFC 9110 §13 and §14."""

import re
from dataclasses import dataclass
from datetime import datetime

from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import parse_date, quote_etag

_TAG = re.compile(r'(?<![^ \t,])(?:W/)?"[^"]*"(?![^ \t,])')  # a member of a list (§8.8.3, §5.6.1)


@dataclass(frozen=True)
class Representation:
    """The validators and the size of what a resource holds now (§8.8)."""

    tag: str  # the entity tag without its quotes; it changes with every write, so it is strong
    modified: int  # seconds since the epoch
    size: int  # bytes

    @property
    def etag(self) -> str:
        """The value of the ETag header."""
        return quote_etag(self.tag)


def write_is_allowed(headers: Headers, current: Representation | None) -> bool:
    """Whether a PUT or DELETE may go on (else 412). §13.2.2, steps 1 to 3."""
    return _is_expected(headers, current) and not (
        "If-None-Match" in headers and _listed(headers["If-None-Match"], current, weak=True)
    )


def wants_nothing(headers: Headers) -> bool:
    """Whether a PUT may create but not replace, and has no other condition (§13.1.2)."""
    return headers.get("If-None-Match", "").strip(" \t") == "*" and write_is_allowed(headers, None)


def read_status(headers: Headers, current: Representation) -> int:
    """The status of the response to a GET or HEAD, before ranges: 200, 304 or 412. §13.2.2, steps 1 to 4."""
    if not _is_expected(headers, current):
        return 412
    if "If-None-Match" in headers:
        return 304 if _listed(headers["If-None-Match"], current, weak=True) else 200
    since = _date(headers.get("If-Modified-Since", ""))
    return 304 if since is not None and current.modified <= since.timestamp() else 200


def requested_range(headers: Headers, current: Representation) -> tuple[int, int] | None:
    """The one range that is asked for, start (inclusive) and end (exclusive); None for the whole.

    §14.2: a Range that is malformed, of another unit, of several ranges, or whose If-Range does not hold, is ignored.
    Raises RequestedRangeNotSatisfiable (416).
    """
    # Not by werkzeug: its Range.range_for_length finds no range where "bytes=-5000" asks for the end of 1000 bytes,
    # which is the whole (§14.1.2), and does not tell a malformed range (200) from one that can't be satisfied (416).
    # A date in If-Range never holds: it is a strong validator only if nothing changed twice in its second (§8.8.2.2),
    # which can't be known here.
    if "If-Range" in headers and headers["If-Range"].strip(" \t") != current.etag:
        return None
    unit, _, listed = headers.get("Range", "").partition("=")
    ranges = [stripped for each in listed.split(",") if (stripped := each.strip(" \t"))]  # §5.6.1.2: without empty ones
    match = re.fullmatch(r"([0-9]{0,4000})-([0-9]{0,4000})", ranges[0]) if len(ranges) == 1 else None
    if unit.lower() != "bytes" or not match or not (match[1] or match[2]):  # Python's int takes 4300 digits
        return None
    first, last = match[1], match[2]
    if first and last and int(last) < int(first):
        return None  # §14.1.1: invalid
    if first:
        start, end = int(first), min(int(last) + 1, current.size) if last else current.size
    else:  # the last so many bytes
        start, end = max(0, current.size - int(last)), current.size
    if start >= end:
        raise RequestedRangeNotSatisfiable(current.size, description="The range begins beyond the content's end.")
    return start, end


def _is_expected(headers: Headers, current: Representation | None) -> bool:
    """Steps 1 and 2 of §13.2.2: If-Match, else If-Unmodified-Since."""
    if "If-Match" in headers:
        return _listed(headers["If-Match"], current, weak=False)
    since = _date(headers.get("If-Unmodified-Since", ""))
    # §13.1.4: a malformed date is ignored.
    return since is None or (current is not None and current.modified <= since.timestamp())


def _listed(header: str, current: Representation | None, *, weak: bool) -> bool:
    """Whether ``*`` or one of the listed tags is the current one; weak tags count only where ``weak`` (§8.8.3.2)."""
    if current is None:
        return False
    if header.strip(" \t") == "*":
        return True
    # Not by werkzeug's parse_etags, which takes a word without quotes for a tag.
    tags = _TAG.findall(header)
    return current.etag in tags or (weak and f"W/{current.etag}" in tags)


def _date(header: str) -> datetime | None:
    try:
        return parse_date(header)
    except OverflowError:  # a year that no datetime has
        return None
