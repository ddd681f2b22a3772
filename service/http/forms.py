"""Forms that browsers send: fields, and files as streams (RFC 7578). Nothing is spooled, in memory or on a disk."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from urllib.parse import parse_qsl

from flask import request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from service.http import request_body
from service.http.errors import Problem

MAX_PARTS = 200  # of one form
MAX_BUFFER = 2 * request_body.CHUNK  # bytes that the decoder may hold: a part's headers, or a chunk of its body
MAX_FIELD = 4096  # bytes of a field


@dataclass(frozen=True)
class FormFile:
    """A file of a form. ``chunks`` must be read to its end before the next part is asked for."""

    name: str
    headers: Headers
    chunks: Iterator[bytes]


def fields() -> dict[str, str]:
    """The request's body as a small form without files. A Problem as ``request_body.small`` raises it, or 400."""
    raw = request_body.small("application/x-www-form-urlencoded")
    try:
        return dict(parse_qsl(raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARTS))
    except ValueError:
        raise Problem(400, f"The form must be UTF-8, with at most {MAX_PARTS} fields.") from None


def parts(limit: int) -> Iterator[tuple[str, str] | FormFile]:
    """The parts of the request's body, in their order: a field's name and value, or a file.

    ``limit``: how many bytes the whole form may have. A Problem (400, 408, 413, 415) is raised as soon as the error
    shows, and before a file's chunks end, so that a store that keeps only whole files keeps none that is cut off.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise Problem(415, "Send the form as multipart/form-data, with its boundary (RFC 7578).")
    events = _events(boundary.encode(), request_body.stream(length=request_body.declared_length(limit), limit=limit))
    for event in events:
        if isinstance(event, File):
            chunks = _data(events)
            yield FormFile(event.filename, event.headers, chunks)
            deque(chunks, maxlen=0)  # the chunks that the caller has not read
        elif isinstance(event, Field):
            yield event.name, _value(events)


def _events(boundary: bytes, chunks: Iterator[bytes]) -> Iterator[Event]:
    decoder = MultipartDecoder(boundary, max_form_memory_size=MAX_BUFFER, max_parts=MAX_PARTS)
    try:
        for chunk in chain(chunks, (None,)):  # None: the end
            decoder.receive_data(chunk)
            while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
                yield event
    except RequestEntityTooLarge:
        raise Problem(413, f"A form may have at most {MAX_PARTS} parts, with short headers.") from None
    except ValueError:
        raise Problem(400, "The form is cut off, or its framing is broken (RFC 7578).", kind="cut-off") from None


def _data(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        if not isinstance(event, Data):
            raise Problem(400, "The form's framing is broken (RFC 7578).", kind="cut-off")
        if event.data:
            yield event.data
        if not event.more_data:
            return


def _value(events: Iterator[Event]) -> str:
    value = b""
    for data in _data(events):
        value += data
        if len(value) > MAX_FIELD:
            raise Problem(413, f"A field of a form may have at most {MAX_FIELD} bytes.")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(400, "The form must be UTF-8.") from None


def at_most(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """``chunks``, and a 413 Problem when they are more than ``limit`` bytes."""
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > limit:
            raise Problem(413, f"A file of a form may have at most {limit} bytes.")
        yield chunk
