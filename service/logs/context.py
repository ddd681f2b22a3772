"""What a log record says beside what the call of the logger said: whose request it is about, and fields of our own."""

from contextvars import ContextVar
from typing import NamedTuple


class RequestIds(NamedTuple):
    """The ids of one request: hex digits, but for ``request_id``, which is 8 to 64 of ``[A-Za-z0-9._-]``."""

    trace_id: str  # 32 digits
    span_id: str  # 16 digits; this request's own
    request_id: str
    sampled: bool  # whether the caller keeps this trace
    parent_id: str = ""  # 16 digits; the caller's span, "" where there is none


# The request that this thread is busy with. Every record that is written meanwhile has its ids.
current_request: ContextVar[RequestIds | None] = ContextVar("current_request", default=None)


class OwnFields(dict[str, object]):
    """Fields under names that no other ``extra`` can use; the values are what JSON can say already.

    A record has them as its attribute ``own_fields``. What a client sends never becomes an object of this class.
    """
