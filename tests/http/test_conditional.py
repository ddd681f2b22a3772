"""Preconditions and ranges, case by case from RFC 9110 §13 and §14."""

import dataclasses

import pytest
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from service.http import conditional as conditions

# Written at Sun, 06 Nov 1994 08:49:37 GMT
CURRENT = conditions.Representation("abc", 784111777, 1000)
TAG = '"abc"'
BEFORE, AT, AFTER = (f"Sun, 06 Nov 1994 08:49:{second} GMT" for second in (36, 37, 38))


def headers(**fields: str) -> EnvironHeaders:
    return EnvironHeaders({f"HTTP_{name.upper()}": value for name, value in fields.items()})


@pytest.mark.parametrize(
    ("fields", "allowed", "allowed_where_there_is_none"),
    [
        ({}, True, True),
        ({"if_match": "*"}, True, False),
        ({"if_match": TAG}, True, False),
        ({"if_match": f'"x", {TAG}'}, True, False),
        ({"if_match": f"W/{TAG}"}, False, False),  # §13.1.1: strong comparison
        ({"if_match": '"other"'}, False, False),
        ({"if_match": "abc"}, False, False),  # not an entity tag
        ({"if_none_match": "*"}, False, True),
        ({"if_none_match": TAG}, False, True),
        ({"if_none_match": f"W/{TAG}"}, False, True),  # §13.1.2: weak comparison
        ({"if_none_match": '"other"'}, True, True),
        ({"if_unmodified_since": AT}, True, False),
        ({"if_unmodified_since": BEFORE}, False, False),
        ({"if_unmodified_since": "yesterday"}, True, True),
        ({"if_match": TAG, "if_unmodified_since": BEFORE}, True, False),  # If-Match goes first
        ({"if_match": TAG, "if_none_match": TAG}, False, False),
        ({"if_match": f" \t{TAG}\t "}, True, False),
        ({"if_none_match": " * "}, False, True),
        ({"if_match": "\x85*"}, False, False),  # white space is space and tab alone (§5.6.3)
        ({"if_match": f"\xa0{TAG}"}, False, False),
        ({"if_none_match": "*\xa0"}, True, True),
        ({"if_match": f", {TAG}"}, True, False),  # §5.6.1.2: empty members count for nothing
        ({"if_match": f'"x",\t, {TAG} ,,'}, True, False),
        ({"if_match": ","}, False, False),
        ({"if_match": f"W/{TAG}, abc"}, False, False),  # a weak tag and a word are not a strong tag
        ({"if_none_match": f',,"x",{TAG},'}, False, True),
        ({"if_none_match": " , "}, True, True),
        ({"if_match": '"x",' * 1000 + TAG}, True, False),  # however many they are
        ({"if_none_match": '"x",' * 1000 + TAG}, False, True),
    ],
)
def test_writes(fields: dict[str, str], allowed: bool, allowed_where_there_is_none: bool) -> None:
    assert conditions.write_is_allowed(headers(**fields), CURRENT) is allowed
    assert conditions.write_is_allowed(headers(**fields), None) is allowed_where_there_is_none


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"if_none_match": TAG}, 304),
        ({"if_none_match": f"W/{TAG}"}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x", "y"'}, 200),
        ({"if_modified_since": AT}, 304),
        ({"if_modified_since": AFTER}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_modified_since": "never"}, 200),
        ({"if_none_match": '"x"', "if_modified_since": AFTER}, 200),  # §13.1.3: ignored beside If-None-Match
        ({"if_match": '"x"'}, 412),
        ({"if_match": TAG}, 200),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_match": '"x"', "if_none_match": TAG}, 412),
    ],
)
def test_reads(fields: dict[str, str], status: int) -> None:
    assert conditions.read_status(headers(**fields), CURRENT) == status


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("Bytes=0-0", (0, 1)),  # §14.1: a unit's name is case-insensitive
        (f"bytes=0-{10**20}", (0, 1000)),
        ("bytes=0-999", (0, 1000)),
        ("bytes=500-", (500, 1000)),
        ("bytes=500-5000", (500, 1000)),
        ("bytes=-1", (999, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=0-1,", (0, 2)),  # §5.6.1.2: empty members count for nothing
        ("bytes= ,\t, 0-1 , ,", (0, 2)),
        ("bytes=,", None),
        ("bytes=0-1,,5-6", None),
        ("bytes=0 - 1", None),
        ("bytes =0-1", None),
        ("bytes=\xa00-1", None),
        ("bytes=0-1,5-6", None),  # several: the whole may be sent
        ("bytes=5-1", None),  # invalid: passed over
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=+1-2", None),
        ("bytes=\u0660-\u0661", None),
        ("items=0-1", None),
        ("bytes 0-1", None),
        ("", None),
    ],
)
def test_ranges(value: str, span: tuple[int, int] | None) -> None:
    assert conditions.requested_range(headers(range=value), CURRENT) == span


@pytest.mark.parametrize(
    "value", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=99999999999999999-", f"bytes={10**20}-"]
)
def test_ranges_beyond_the_end_can_t_be_satisfied(value: str) -> None:
    with pytest.raises(RequestedRangeNotSatisfiable, match="beyond"):
        conditions.requested_range(headers(range=value), CURRENT)


def test_an_empty_file_has_no_range() -> None:
    with pytest.raises(RequestedRangeNotSatisfiable, match="beyond"):
        conditions.requested_range(headers(range="bytes=0-"), dataclasses.replace(CURRENT, size=0))


@pytest.mark.parametrize(
    ("if_range", "holds"),
    [
        (TAG, True),
        (f"W/{TAG}", False),
        ('"x"', False),
        (AT, False),
        ("", False),
        (f" {TAG}\t", True),
        (f"{TAG}\x85", False),
    ],
)
def test_if_range(if_range: str, holds: bool) -> None:
    span = conditions.requested_range(headers(range="bytes=0-0", if_range=if_range), CURRENT)
    assert (span is not None) is holds


@pytest.mark.parametrize(
    "date",
    [
        "06 Nov 99999999999 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:99999999999 GMT",
        "Fri, 31 Dec 9999 23:59:59 -9999",
        "-",
    ],
)
def test_a_date_that_is_none_is_passed_over(date: str) -> None:
    """§13.1.3, §13.1.4"""
    assert conditions.read_status(headers(if_modified_since=date), CURRENT) == 200
    assert conditions.read_status(headers(if_unmodified_since=date), CURRENT) == 200
    assert conditions.write_is_allowed(headers(if_unmodified_since=date), CURRENT)


def test_the_validators() -> None:
    assert CURRENT.etag == TAG
