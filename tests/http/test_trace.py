"""Trace headers: taken when they are exactly as their rules say, else a new trace."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.http import trace
from service.logs.context import RequestIds

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def from_headers(**headers: str) -> RequestIds:
    return trace.from_environ({f"HTTP_{name}": value for name, value in headers.items()})


def assert_new(context: RequestIds) -> None:
    """It begins a trace of its own."""
    assert context.trace_id != TRACE
    assert not context.sampled
    assert re.fullmatch("[0-9a-f]{32}", context.trace_id)


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_a_valid_traceparent_is_continued(header: str, *, sampled: bool) -> None:
    context = from_headers(TRACEPARENT=header)
    assert (context.trace_id, context.parent_id, context.sampled) == (TRACE, SPAN, sampled)
    assert context.span_id != SPAN


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01-x,00-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"0x-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        '","severity":"CRITICAL',
    ],
)
def test_any_other_traceparent_begins_a_new_trace(header: str) -> None:
    assert_new(from_headers(TRACEPARENT=header))


@pytest.mark.parametrize(
    ("header", "parent", "sampled"),
    [
        (f"{TRACE}/1;o=1", "0000000000000001", True),
        (f"{TRACE}/67667974448284343;o=1", SPAN, True),
        (f"{TRACE}/18446744073709551615;o=0", "ffffffffffffffff", False),
        (f"{TRACE}/0;o=1", "", True),
        (f"{TRACE};o=1", "", True),
        (f"{TRACE.upper()}/1", "0000000000000001", False),
        (TRACE, "", False),
    ],
)
def test_googles_header_is_continued_with_its_span_in_hex(header: str, parent: str, *, sampled: bool) -> None:
    context = from_headers(X_CLOUD_TRACE_CONTEXT=header)
    assert (context.trace_id, context.parent_id, context.sampled) == (TRACE, parent, sampled)


@pytest.mark.parametrize(
    "header",
    [
        f"{'0' * 32}/1;o=1",
        f"{TRACE}/18446744073709551616;o=1",
        f"{TRACE}/abc;o=1",
        f"{TRACE}/1;o=9",
        f"{TRACE}/1;o=1;x",
        f"{TRACE}/٣",
        f"{TRACE}/1,{TRACE}/2",
        "x",
    ],
)
def test_any_other_form_of_googles_header_begins_a_new_trace(header: str) -> None:
    assert_new(from_headers(X_CLOUD_TRACE_CONTEXT=header))


def test_traceparent_goes_before_googles_header_and_gives_way_to_it_when_it_is_invalid() -> None:
    other = "a" * 32
    assert from_headers(TRACEPARENT=f"00-{TRACE}-{SPAN}-00", X_CLOUD_TRACE_CONTEXT=f"{other}/1").trace_id == TRACE
    assert from_headers(TRACEPARENT="nonsense", X_CLOUD_TRACE_CONTEXT=f"{other}/1").trace_id == other


@pytest.mark.parametrize("given_id", ["abcd1234", "A.b-c_1234", "x" * 64])
def test_a_request_id_of_the_right_form_is_kept(given_id: str) -> None:
    assert from_headers(X_REQUEST_ID=given_id).request_id == given_id


@pytest.mark.parametrize(
    "given_id", ["", "short", "x" * 65, "a b c d e f", "-abcdefgh", 'abc"def123', "abcdefgh\n", "ä" * 9]
)
def test_any_other_request_id_is_replaced(given_id: str) -> None:
    made = from_headers(X_REQUEST_ID=given_id).request_id
    assert made != given_id
    assert re.fullmatch("[0-9a-f]{16}", made)


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_whatever_the_headers_are_the_ids_are_safe(one: str, two: str, three: str) -> None:
    context = from_headers(TRACEPARENT=one, X_CLOUD_TRACE_CONTEXT=two, X_REQUEST_ID=three)
    assert re.fullmatch("[0-9a-f]{32}", context.trace_id)
    assert re.fullmatch("[0-9a-f]{16}", context.span_id)
    assert re.fullmatch("([0-9a-f]{16})?", context.parent_id)
    assert re.fullmatch("[A-Za-z0-9._-]{8,64}", context.request_id)


def test_ids_are_not_repeated() -> None:
    made = [trace.from_environ({}) for _ in range(1000)]
    for ids in zip(*((c.trace_id, c.span_id, c.request_id) for c in made), strict=True):
        assert len(set(ids)) == 1000
