"""Lines become records, records become lines of JSON: whatever is in the file."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_agent import output
from log_agent.formats import FORMATS
from log_agent.records import MAX_BYTES, MAX_LINES, Assembler, Record

TOMCAT = (
    b"24-Nov-2026 12:00:00.123 SEVERE [http-nio-8080-exec-1] org.example.Shop.sell Out of stock\n"
    b"\tjava.lang.IllegalStateException: nothing left\n"
    b"\t\tat org.example.Shop.sell(Shop.java:7)\n"
    b"24-Nov-2026 12:00:00.456 INFO [main] org.example.Shop.open Open\n"
)


def records_of(name: str, *pieces: bytes) -> list[Record]:
    assembler = Assembler(FORMATS[name], 0)
    found = [record for piece in pieces for record in assembler.feed(piece)]
    return found + list(assembler.flush())


def encoded(content: bytes, name: str = "generic") -> dict[str, object]:
    [record] = records_of(name, content)
    line, _, _ = output.encode(record, FORMATS[name], path="/logs/a.log", insert_id="id-0")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) < 16 * 1024
    document: dict[str, object] = json.loads(line)
    return document


def test_a_stack_trace_is_one_record() -> None:
    first, second = records_of("tomcat", TOMCAT)
    assert first.lines == 3
    assert first.content.endswith(b"Shop.java:7)")
    assert (second.offset, second.end) == (first.end, len(TOMCAT))


def test_tomcats_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = FORMATS["tomcat"].parse(TOMCAT.decode().partition("\n24-")[0])
    assert fields is not None
    assert fields["time"].endswith(":00:00.123Z") or fields["time"].endswith(".123Z")
    assert fields["severity"] == "ERROR"
    assert fields["thread"] == "http-nio-8080-exec-1"
    assert fields["logger"] == "org.example.Shop.sell"
    assert fields["message"].startswith("Out of stock\n\tjava.lang.IllegalStateException")


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        ("SEVERE", "ERROR"),
        ("WARNING", "WARNING"),
        ("INFO", "INFO"),
        ("CONFIG", "NOTICE"),
        ("FINEST", "DEBUG"),
        ("ODD", "DEFAULT"),
    ],
)
def test_levels_become_severities(level: str, severity: str) -> None:
    fields = FORMATS["tomcat"].parse(f"24-Nov-2026 12:00:00.123 {level} [main] a.B.c text")
    assert fields is not None
    assert fields["severity"] == severity


def test_the_access_logs_fields() -> None:
    line = r'10.0.0.7 - ada [24/Nov/2026:13:00:00 +0100] "GET /a?b=\"c HTTP/1.1" 503 1234 "-" "curl/8"'
    fields = FORMATS["access"].parse(line)
    assert fields == {
        "time": "2026-11-24T12:00:00.000Z",
        "severity": "ERROR",
        "message": r"GET /a?b=\"c HTTP/1.1 503",
        "httpRequest": {
            "requestMethod": "GET",
            "requestUrl": r"/a?b=\"c",
            "protocol": "HTTP/1.1",
            "status": 503,
            "responseSize": "1234",
            "remoteIp": "10.0.0.7",
            "userAgent": "curl/8",
        },
    }


@pytest.mark.parametrize(
    ("line", "severity", "logger", "message"),
    [
        ("2026-11-24 12:00:00,123 INFO app: hello", "INFO", "app", "hello"),
        ("2026-11-24 12:00:00,123 - app.web - ERROR - hello", None, None, None),
        ("2026-11-24T12:00:00Z WARNING hello: there", "WARNING", "hello", "there"),
        ("2026-11-24 12:00:00.5 [DEBUG] hello", "DEBUG", None, "hello"),
    ],
)
def test_pythons_fields(line: str, severity: str | None, logger: str | None, message: str | None) -> None:
    fields = FORMATS["python"].parse(line)
    if severity is None:
        assert fields is None  # it goes out whole
    else:
        assert fields is not None
        assert (fields["severity"], fields.get("logger"), fields["message"]) == (severity, logger, message)


@pytest.mark.parametrize("name", ["tomcat", "access", "python"])
@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "31-Feb-2026 12:00:00.123 INFO [main] a.b c",
        "24-Xyz-2026 12:00:00.123 INFO [main] a.b c",
        '1.2.3.4 - - [99/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 1',
        "2026-13-45 12:00:00,123 INFO app: hello",
    ],
)
def test_what_fits_nothing_goes_out_whole(name: str, line: str) -> None:
    record = Record(0, len(line), 1, line.encode())
    raw, is_parsed, _ = output.encode(record, FORMATS[name], path="/logs/a.log", insert_id="x")
    document = json.loads(raw)
    assert not is_parsed
    assert (document["message"], document["severity"]) == (line, "DEFAULT")


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([b"\n", b"\r\n", b"\0\0", b" x\n", b"24-Nov-2026 12:00:00.123 "]))
)
def test_records_do_not_depend_on_how_the_bytes_come(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    for name in FORMATS:
        at_once = records_of(name, whole)
        assert records_of(name, *pieces) == at_once
        assert records_of(name, *(bytes([byte]) for byte in whole)) == at_once
        assert sum(record.size for record in at_once) == len(whole)
        assert all(before.end == after.offset for before, after in pairwise(at_once))


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=3000) | st.binary(min_size=1, max_size=20).map(lambda piece: piece * 5000))
def test_every_line_is_json_whatever_is_in_the_file(content: bytes) -> None:
    for name in FORMATS:
        for record in records_of(name, content):
            line, _, _ = output.encode(record, FORMATS[name], path="/logs/\udcff.log", insert_id="x")
            assert len(line) < 16 * 1024
            assert line.isascii()
            assert line.count(b"\n") == 1
            json.loads(line)


def test_bad_bytes_are_spelled_out() -> None:
    assert encoded(b"caf\xe9 \x80\n")["message"] == r"caf\xe9 \x80"


def test_a_hole_of_nuls_is_left_out() -> None:
    assert encoded(b"\0" * 5000 + b"after the hole\r\n")["message"] == "after the hole"


def test_a_line_of_ten_megabytes_is_clipped_and_says_so() -> None:
    assembler = Assembler(FORMATS["generic"], 0)
    for _ in range(40):
        assert list(assembler.feed(b"x" * 262_144)) == []
    assert len(assembler._line) == MAX_BYTES  # the rest is not kept
    [record] = [*assembler.feed(b"\n"), *assembler.flush()]
    line, _, is_clipped = output.encode(record, FORMATS["generic"], path="/logs/a.log", insert_id="x")
    document = json.loads(line)
    assert is_clipped
    assert document["clipped"] == {"bytes": str(40 * 262_144 + 1), "lines": 1}
    assert "...[clipped]..." in document["message"]
    assert len(line) > 15_000


def test_a_record_has_so_many_lines_at_most() -> None:
    lines = b"begin\n" + b" more\n" * (2 * MAX_LINES)
    counts = [record.lines for record in records_of("generic", lines)]
    assert counts == [MAX_LINES, MAX_LINES, 1]


@pytest.mark.parametrize("character", ["\U0001f600", "\x01", "\\\\", "x"], ids=["emoji", "control", "backslash", "x"])
def test_fields_that_grow_in_json_leave_room_for_the_message(character: str) -> None:
    """Whoever sends the request chooses them."""
    long = character * 500
    line = f'{long} - - [24/Nov/2026:12:00:00 +0000] "GET /{long} {long}" 200 1 "{long}" "{long}"'
    document = encoded(line.encode(), "access")
    assert str(document["message"]).startswith("GET /")


def test_a_clock_that_steps_back_changes_no_order() -> None:
    late = b"24-Nov-2026 12:00:00.000 INFO [main] a.B.c one\n"
    early = b"24-Nov-2026 11:00:00.000 INFO [main] a.B.c two\n"
    assert [record.content[-3:] for record in records_of("tomcat", late + early)] == [b"one", b"two"]
