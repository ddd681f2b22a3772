"""Which request this is: the trace it belongs to, a span id and a request id of its own.

W3C Trace Context (``traceparent``) goes before Google's older ``X-Cloud-Trace-Context``. A header that is not
exactly as its rule says is ignored: the request begins a new trace.
"""

import random
import re
from collections.abc import Mapping
from typing import Any

from service.logs.context import RequestIds

# https://www.w3.org/TR/trace-context/#traceparent-header: lower case; version 00 ends after the flags, later ones may
# go on. Several headers arrive joined by a comma, which none of these allows.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[^,]*)?")
# https://cloud.google.com/trace/docs/trace-context#legacy-http-header: TRACE_ID/SPAN_ID;o=OPTIONS, the span in decimal.
_CLOUD_TRACE = re.compile(r"(?!0{32})([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([0-3]))?", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}", re.ASCII)


def from_environ(environ: Mapping[str, Any]) -> RequestIds:
    """The ids of the request with this WSGI environment. Never raises, whatever its headers are."""
    fresh = f"{random.getrandbits(256):064x}"  # ids are not secret; os.urandom would be a system call
    trace_id, parent_id, sampled = fresh[:32], "", False
    if (header := environ.get("HTTP_TRACEPARENT")) and (match := _TRACEPARENT.fullmatch(header)):
        if match[1] != "00" or match[5] is None:
            trace_id, parent_id, sampled = match[2], match[3], bool(int(match[4], 16) & 1)
    elif header := environ.get("HTTP_X_CLOUD_TRACE_CONTEXT"):
        match = _CLOUD_TRACE.fullmatch(header)
        span = int(match[2] or 0) if match else 0
        if match and span < 2**64:
            trace_id, sampled = match[1].lower(), match[3] in ("1", "3")
            parent_id = f"{span:016x}" if span else ""
    request_id = environ.get("HTTP_X_REQUEST_ID")
    if request_id is None or not _REQUEST_ID.fullmatch(request_id):
        request_id = fresh[48:]
    return RequestIds(trace_id, fresh[32:48], request_id, sampled, parent_id)
