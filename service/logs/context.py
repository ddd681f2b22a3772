"""What a log record has besides what the caller of the logger gives: the ids of the request, and fields of our own."""

from contextvars import ContextVar
from typing import NamedTuple


class RequestIds(NamedTuple):
    """The ids of one request: hex digits, but for ``request_id``, which is 8 to 64 of ``[A-Za-z0-9._-]``."""

    trace_id: str  # 32 digits
    span_id: str  # 16 digits; this request's own
    request_id: str
    sampled: bool  # whether the caller keeps this trace
    parent_id: str = ""  # 16 digits; the caller's span, "" where there is none


# The request that this thread handles. Every record that is written meanwhile has its ids.
current_request: ContextVar[RequestIds | None] = ContextVar("current_request", default=None)


class OwnFields(dict[str, object]):
    """Fields under names that no other ``extra`` can use, for a record's attribute ``own_fields``.

    Their values, and the record's message, are clean: JSON has them, and they hold no secret. The formatter writes them
    as they are. What a client sends never becomes an object of this class.
    """
