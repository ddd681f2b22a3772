"""A record becomes one line that a parser takes, whatever is in it: nothing raised, nothing lost, nothing forged."""

import dataclasses
import datetime as dt
import enum
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.logs.context import RequestIds, current_request
from service.logs.formatter import SafeJsonFormatter, TextFormatter
from service.logs.redaction import REDACTED, remember

MAX_LINE = 16 * 1024
JSON = SafeJsonFormatter(project="project-1", version="1.2.3")
TEXT = TextFormatter()
CANARY = "c4n4ry-Zx81-value"


def record(
    msg: object = "a message",
    *args: object,
    level: int = logging.INFO,
    extra: Mapping[str, object] | None = None,
    **more: object,
) -> logging.LogRecord:
    made = logging.LogRecord("service.test", level, "/srv/service/test.py", 12, msg, args, None, "do")
    made.__dict__.update(more | dict(extra or {}))
    return made


def line(made: logging.LogRecord) -> dict[str, Any]:
    """The record as JSON has it, after everything that is promised for each line."""
    raw = JSON.format(made)
    assert raw.isascii()
    assert len(raw) + 1 < MAX_LINE
    assert not any(ord(c) < 32 or ord(c) == 127 for c in raw)

    def strict(name: str) -> NoReturn:
        raise AssertionError(f"{name} is no JSON")

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len({key for key, _ in pairs}) == len(pairs), "a field stands twice"
        return dict(pairs)

    fields: dict[str, Any] = json.loads(raw, parse_constant=strict, object_pairs_hook=once)
    raw.encode().decode().encode("utf-8")
    json.dumps(fields, ensure_ascii=False).encode()  # no lone surrogates
    assert fields["severity"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields["time"])
    assert isinstance(fields["message"], str)
    assert fields["logger"] == "service.test"
    return fields


Raised = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def fail(error: BaseException, cause: BaseException | None = None) -> NoReturn:
    raise error from cause


def raised(error: BaseException, cause: BaseException | None = None) -> Raised:
    """The exception with a stack, as a record has it."""
    try:
        fail(error, cause)
    except BaseException:  # noqa: BLE001 -- whatever was given
        return sys.exc_info()


def text(made: logging.LogRecord) -> str:
    shown = TEXT.format(made)
    assert len(shown.encode()) + 1 < MAX_LINE
    return shown


@pytest.fixture(autouse=True)
def _no_request() -> Iterator[None]:
    yield
    current_request.set(None)
    remember()


def test_a_record_has_cloud_loggings_fields() -> None:
    made = record("%s took %d ms", "it", 3, created=1_700_000_000.25, user="bob")
    assert line(made) == {
        "severity": "INFO",
        "time": "2023-11-14T22:13:20.250000Z",
        "message": "it took 3 ms",
        "logger": "service.test",
        "logging.googleapis.com/sourceLocation": {"file": "/srv/service/test.py", "line": "12", "function": "do"},
        "user": "bob",
    }


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (0, "DEBUG"),
        (5, "DEBUG"),
        (10, "DEBUG"),
        (20, "INFO"),
        (25, "INFO"),
        (30, "WARNING"),
        (49, "ERROR"),
        (90, "CRITICAL"),
    ],
)
def test_every_level_has_a_severity_that_cloud_logging_knows(level: int, name: str) -> None:
    assert line(record(level=level))["severity"] == name


def test_the_request_that_is_going_on_is_named() -> None:
    current_request.set(RequestIds("a" * 32, "b" * 16, "request-1", sampled=True))
    fields = line(record())
    assert fields["logging.googleapis.com/trace"] == f"projects/project-1/traces/{'a' * 32}"
    assert fields["logging.googleapis.com/spanId"] == fields["span_id"] == "b" * 16
    assert fields["logging.googleapis.com/trace_sampled"] is True
    assert (fields["trace_id"], fields["request_id"]) == ("a" * 32, "request-1")


def test_without_a_project_the_trace_is_the_bare_id() -> None:
    current_request.set(RequestIds("a" * 32, "b" * 16, "request-1", sampled=False))
    fields = json.loads(SafeJsonFormatter().format(record()))
    assert fields["logging.googleapis.com/trace"] == "a" * 32
    assert fields["logging.googleapis.com/trace_sampled"] is False


def test_an_error_has_what_error_reporting_needs() -> None:
    fields = line(record(level=logging.ERROR, exc_info=raised(LookupError("no such thing"))))
    assert fields["serviceContext"] == {"service": "seatrial", "version": "1.2.3"}
    assert fields["stack_trace"].startswith("Traceback (most recent call last):")
    assert fields["stack_trace"].endswith("LookupError: no such thing")
    assert "serviceContext" not in line(record(level=logging.WARNING))


@pytest.mark.parametrize(
    "name",
    [
        "severity", "time", "logger", "httpRequest", "serviceContext", "stack_trace", "trace_id", "span_id",
        "request_id", "logging.googleapis.com/trace", "logging.googleapis.com/labels", "clipped", "aborted",
        "format_error",
    ],
)  # fmt: skip
def test_an_extra_overrides_no_field(name: str) -> None:
    current_request.set(RequestIds("a" * 32, "b" * 16, "request-1", sampled=True))
    honest = line(record(level=logging.ERROR))
    forged = line(record(level=logging.ERROR, extra={name: "forged"}))
    assert forged.pop(f"extra.{name}") == "forged"
    forged["time"] = honest["time"]
    assert forged == honest


def test_an_access_record_can_not_be_forged_by_an_extra() -> None:
    fields = line(record(own_fields={"httpRequest": {"status": 200}, "severity": "ALERT"}, aborted=True))
    assert "httpRequest" not in fields
    assert fields["severity"] == "INFO"
    assert fields["own_fields"] == {"httpRequest": {"status": 200}, "severity": "ALERT"}
    assert fields["extra.aborted"] is True


def test_a_dict_that_is_logged_does_not_stand_in_for_the_stack() -> None:
    said = {"exc_info": "forged", "stack_info": "forged", "exc_text": "forged", "own_fields": "forged"}
    fields = line(record(said, exc_info=raised(ValueError("why")), stack_info="Stack"))
    assert fields["stack_trace"].endswith("ValueError: why")
    assert (fields["stack_info"], fields["extra.stack_info"], fields["exc_info"]) == ("Stack", "forged", "forged")
    assert "stack_trace" not in line(record(said))


@pytest.mark.parametrize(("args", "kept"), [(("one",), "one"), ((1, 2, 3), 3), ((), None)])
def test_wrong_arguments_keep_the_record(args: tuple[object, ...], kept: object) -> None:
    fields = line(record("%s and %d", *args))
    if args:
        assert fields["message"] == "%s and %d"
        assert kept in fields["args"]
        assert "TypeError" in fields["format_error"]
    else:
        assert fields["message"] == "%s and %d"


class Hostile:
    """Everything that can be asked of it raises."""

    def __str__(self) -> str:
        raise ZeroDivisionError("in __str__")

    __repr__ = __str__


class HostileText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise ZeroDivisionError("in __str__")


class HostileDict(dict[str, object]):
    def items(self) -> NoReturn:
        raise ZeroDivisionError("in items")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Login:
    user: str
    password: str


def circular() -> list[object]:
    made: list[object] = [1]
    made.append({"me": made})
    return made


def deep(levels: int = 100_000) -> object:
    made: object = "bottom"
    for _ in range(levels):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1.5, 1.5),
        (2**70, 2**70),
        (10**5000, "<int of 16610 bits>"),
        (True, True),
        (None, None),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("\udc80", "\\udc80"),
        ("😀 ü", "😀 ü"),
        (b"bytes \xff", "bytes \\xff"),
        ({("tuple", 1): 2}, {"('tuple', 1)": 2}),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        (circular(), [1, {"me": "<circular>"}]),
        (dt.datetime(2025, 1, 2, tzinfo=dt.UTC), "2025-01-02T00:00:00+00:00"),
        (Colour.RED, "red"),
        (Login("bob", CANARY), {"user": "bob", "password": REDACTED}),
        (ValueError("why"), "ValueError: why"),
        ({1}, [1]),
        ((1, (2,)), [1, [2]]),
        (Hostile(), "__could_not_encode__"),
        (HostileText("x"), "<HostileText: ZeroDivisionError>"),
        (HostileDict(a=1), "<HostileDict: ZeroDivisionError>"),
        ([Hostile(), 1], ["__could_not_encode__", 1]),
        (int, "int"),
        (
            {"a": {"b": [{"secret_token": "x", "n": float("inf")}]}},
            {"a": {"b": [{"secret_token": REDACTED, "n": "inf"}]}},
        ),
        ({"password": None, "token": True}, {"password": None, "token": True}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_becomes_json(value: object, expected: object) -> None:
    assert line(record(value=value))["value"] == expected
    text(record(value=value))


def test_deep_nesting_ends_early_and_raises_nothing() -> None:
    assert "clipped" in json.dumps(line(record(value=deep()))["value"])


def test_a_record_made_deep_in_the_stack_is_a_record() -> None:
    """Even where hardly a frame is left, the formatter returns a line and raises nothing."""

    def dive(levels: int) -> str:
        return JSON.format(record("deep down", value={"a": [1]})) if levels == 0 else dive(levels - 1)

    made = 0
    for levels in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        try:
            raw = dive(levels)
        except RecursionError as error:
            last = error.__traceback__
            while last and last.tb_next:
                last = last.tb_next
            assert last is not None
            if last.tb_frame.f_code.co_name in ("dive", "record", "__init__"):
                break  # not even the formatter could be called
            if made == 0:
                raise
            break
        assert json.loads(raw)["severity"] == "INFO"
        made += 1
    assert made > 50


@pytest.mark.parametrize(
    "message", [Hostile(), HostileText("x"), None, 7, b"bytes", ["list"], {"a": 1}, {("t",): Hostile()}]
)
def test_a_message_may_be_anything(message: object) -> None:
    line(record(message))
    line(record(message, "with", "arguments"))
    text(record(message))


def test_a_dict_as_message_is_fields_and_forges_none() -> None:
    fields = line(record({"message": "said", "severity": "ALERT", "n": 1, "password": CANARY}))
    assert (fields["message"], fields["severity"], fields["n"], fields["password"]) == ("said", "INFO", 1, REDACTED)
    assert fields["extra.severity"] == "ALERT"


@pytest.mark.parametrize("size", [16_200, 16_384, 100_000, 10_000_000])
@pytest.mark.parametrize("letter", ["a", "\n", "ü", "😀", '"'])
def test_what_is_too_long_is_clipped_in_the_middle(size: int, letter: str) -> None:
    fields = line(record("begin " + letter * size + " end"))
    assert fields["message"].startswith("begin ")
    assert fields["message"].endswith(" end")
    assert "...[clipped]..." in fields["message"]
    assert fields["clipped"] is True


def test_a_line_that_just_fits_is_not_clipped() -> None:
    for size in range(15_950, 16_400):
        raw = JSON.format(record("x" * size))
        assert len(raw) + 1 < MAX_LINE
        if "clipped" in raw:
            assert len(JSON.format(record("x" * (size - 1)))) == MAX_LINE - 2
            return
    pytest.fail("nothing was clipped")


def test_a_long_stack_keeps_its_end_and_the_other_fields() -> None:
    def dive(levels: int) -> None:
        if not levels:
            raise ValueError("the reason")
        if levels % 2:  # so that no line of the stack repeats the one before it
            dive(levels - 1)
        dive(levels - 1)

    try:
        dive(300)
    except ValueError:
        fields = line(record("short", level=logging.ERROR, exc_info=sys.exc_info(), user="bob"))
    assert fields["stack_trace"].startswith("Traceback")
    assert fields["stack_trace"].endswith("ValueError: the reason")
    assert (fields["message"], fields["user"], fields["clipped"]) == ("short", "bob", True)
    assert len(json.dumps(fields)) > 12_000


def test_many_long_fields_share_the_room() -> None:
    fields = line(record("m" * 50_000, extra={f"field_{n}": {"x": "y" * 9_000} for n in range(200)}))
    assert fields["message"].startswith("mmm")
    assert sum(name.startswith("field_") for name in fields) >= 50


@pytest.mark.parametrize("letter", ["a", "\x00", '"', "😀"])
def test_many_long_names_fit_into_a_line(letter: str) -> None:
    fields = line(
        record("m" * 9_000, level=logging.ERROR, extra={f"{n:03}{letter * 90}": "y" * 900 for n in range(60)})
    )
    assert fields["message"].startswith("mmm")
    assert sum(name[:3].isdigit() for name in fields) == 60


def test_a_wide_value_is_bounded() -> None:
    line(record(value={str(n): list(range(100)) for n in range(10_000)}))
    line(record(extra={"k" * 20_000: 1}))


def test_an_exception_may_be_hostile_too() -> None:
    class Worst(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

        @property
        def __notes__(self) -> NoReturn:  # type: ignore[override] # it is hostile
            raise RuntimeError

    assert line(record(exc_info=raised(Worst())))["stack_trace"]
    assert "stack_trace" not in line(record(exc_info=(None, None, None)))


@pytest.mark.parametrize(
    "made",
    [
        record(f"password={CANARY}"),
        record("password=%s", CANARY),
        record("%s", {"Authorization": f"Bearer {CANARY}"}),
        record("%(token)s and token=%(token)s", {"token": "x"}),
        record("x", password=CANARY),
        record("x", headers={"Cookie": CANARY, "list": [{"api_key": CANARY}]}),
        record("x", headers=[("X", f"redis://:{CANARY}@host")]),
        record("x", url=f"https://host/?X-Goog-Signature={CANARY}"),
        record("wrong %d", f"Bearer {CANARY}"),
        record("x" * 40_000 + f" Bearer {CANARY} " + "y" * 40_000),
        record("x", stack_info=f"Stack\n  password='{CANARY}'"),
        record("x", raw=f'{{"client_secret": "{CANARY}"}}'.encode()),
        record("x", extra={f"Bearer {CANARY}": 1}),
        record("x", error=ValueError(f"token={CANARY}")),
    ],
    ids=lambda made: str(made.msg)[:20],
)
def test_a_secret_is_in_no_line(made: logging.LogRecord) -> None:
    assert CANARY not in JSON.format(made)
    assert CANARY not in TEXT.format(made)


def test_a_secret_in_an_exception_or_its_cause_is_in_no_line() -> None:
    cause = OSError(f"connecting to redis://user:{CANARY}@host")
    cause.add_note(f"with password={CANARY}")
    made = record(level=logging.ERROR, exc_info=raised(ValueError(f"Authorization: {CANARY}"), cause))
    assert "connecting to" in JSON.format(made)
    assert CANARY not in JSON.format(made)
    assert CANARY not in TEXT.format(made)


@pytest.mark.parametrize("where", range(0, 66_000, 499))
def test_no_part_of_a_secret_shows_where_a_long_text_is_cut(where: int) -> None:
    secret = "Bearer " + CANARY * 100
    raw = JSON.format(record("x " * (where // 2) + secret + " y" * 50_000))
    assert "c4n4ry" not in raw
    raw = JSON.format(record("x " * 50_000 + secret + " y" * (where // 2)))
    assert "c4n4ry" not in raw


def test_a_secret_known_by_value_is_in_no_line() -> None:
    remember(CANARY)
    assert CANARY not in JSON.format(record(f"the word is {CANARY}", other=[CANARY]))


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.tuples(st.integers()), inner) | st.sets(st.text()),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.text() | json_like, st.lists(json_like, max_size=3), st.dictionaries(st.text(), json_like, max_size=5))
def test_fuzz(message: object, args: list[object], extra: dict[str, object]) -> None:
    """No record is lost or invalid, and no extra changes what the record is."""
    reserved = set(vars(record()))
    made = record(message, *args, extra={k: v for k, v in extra.items() if k not in reserved})
    fields = line(made)
    assert fields["severity"] == "INFO"
    shown = text(made)
    assert len(shown.splitlines()) == 1


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec=None, max_codepoint=0x2100), max_size=100))
def test_text_is_one_line_without_control_characters(message: str) -> None:
    shown = text(record(message, value=message))
    assert not any(
        ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029\u200e\u200f\u202a\u202e\u061c" for c in shown
    )


def test_text_is_for_a_person() -> None:
    shown = text(record("hello %s", "wörld", level=logging.WARNING, user="bob"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING  hello wörld  \[logger=service.test user=bob\]", shown)


def test_the_stack_in_text_is_indented_so_that_it_can_not_look_like_a_record() -> None:
    shown = text(record("failed", exc_info=raised(ValueError("first\n12:00:00 CRITICAL forged\x1b[31m"))))
    first, *rest = shown.splitlines()
    assert "failed" in first
    assert all(part.startswith("    ") for part in rest)
    assert "\x1b" not in shown
    assert any("forged" in part for part in rest)


def test_something_that_is_not_a_record_is_still_a_line() -> None:
    broken = record()
    broken.created = "never"  # type: ignore[assignment] # that is the point
    assert json.loads(JSON.format(broken))["format_error"] == "TypeError"
    assert json.loads(TEXT.format(broken))["severity"] == "INFO"
