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
# Bytes that the decoder may hold: a part's headers, or a chunk that is no part's end yet.
MAX_BUFFER = 2 * request_body.CHUNK
MAX_FIELD = 4096  # bytes of a field that is no file


@dataclass(frozen=True)
class FormFile:
    """A file of a form. ``chunks`` must be read to its end before the next part is asked for."""

    name: str
    headers: Headers
    chunks: Iterator[bytes]


def fields() -> dict[str, str]:
    """The request's body as a small form without files. A Problem (400, 411, 413, 415) says what is wrong with it."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise Problem(415, "Send the form as application/x-www-form-urlencoded.")
    length = request_body.declared_length(request_body.MAX_JSON_BYTES)
    if length is None:
        raise Problem(411, "Send the form with a Content-Length.")
    raw = b"".join(request_body.stream(length=length, limit=request_body.MAX_JSON_BYTES))
    try:
        return dict(parse_qsl(raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARTS))
    except ValueError:
        raise Problem(400, "The form is no UTF-8, or has too many fields.") from None


def parts(limit: int) -> Iterator[tuple[str, str] | FormFile]:
    """The parts of the request's body, in their order: a field's name and value, or a file.

    ``limit``: how many bytes the whole form may have. Raises a Problem (400, 408, 413, 415) where the error shows: in a
    file's chunks before their end, so that a store that takes only whole files keeps none that is cut off.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise Problem(415, "Send the form as multipart/form-data, with its boundary (RFC 7578).")
    events = _events(boundary.encode(), request_body.stream(length=request_body.declared_length(limit), limit=limit))
    for event in events:
        if isinstance(event, File):
            chunks = _data(events)
            yield FormFile(event.filename, event.headers, chunks)
            deque(chunks, maxlen=0)  # what nobody wanted
        elif isinstance(event, Field):
            yield event.name, _value(events)


def _events(boundary: bytes, chunks: Iterator[bytes]) -> Iterator[Event]:
    decoder = MultipartDecoder(boundary, max_form_memory_size=MAX_BUFFER, max_parts=MAX_PARTS)
    try:
        for chunk in chain(chunks, (None,)):  # None: that was all
            decoder.receive_data(chunk)
            while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
                yield event
    except RequestEntityTooLarge:
        raise Problem(413, f"A form has at most {MAX_PARTS} parts, with small headers.") from None
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
            raise Problem(413, f"A field has at most {MAX_FIELD} bytes.")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(400, "The form is no UTF-8.") from None


def at_most(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """``chunks``, or a 413 Problem where they are more than ``limit`` bytes."""
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > limit:
            raise Problem(413, f"A file may have {limit} bytes.")
        yield chunk
