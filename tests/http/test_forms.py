"""Forms that browsers send: what comes through, and what is wrong with those that are refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.probe import path_of
from tests.support.forms import BOUNDARY, FORM, MULTIPART, form, part
from tests.support.hold import metric
from tests.support.http import Visitor
from tests.support.processes import wait_until
from tests.support.raw import RawClient, head
from tests.support.service import running_service
from tests.support.stacks import NAMES, running_stack


@pytest.fixture(scope="module", params=NAMES)
def app_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """On every pair of stores: each has its own way to keep nothing of a file that is cut off."""
    with running_stack(request.param) as running:
        yield running.app_url


@pytest.fixture
def visitor(app_url: str) -> Iterator[Visitor]:
    with Visitor(app_url) as somebody:
        yield somebody


def test_fields_come_through(visitor: Visitor) -> None:
    assert visitor.ask("POST", "/forms/any", b"name=Ada+%C3%A9&empty=", FORM).json == {
        "name": "Ada \u00e9",
        "empty": "",
    }
    sent = form(part("name", "Ada \u00e9".encode()), part("file", b"content", filename="a.txt"))
    assert visitor.ask("POST", "/forms/any", sent, MULTIPART).json == {"name": "Ada \u00e9", "a.txt": 7}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"--" + BOUNDARY.encode()[:-1],
        b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n",
        bytes(range(256)) * 4000,
        b"\r" * 300_000,
        b"\n" * 300_000,
        b"-" * 700_001,
    ],
    ids=["nothing", "a line's end", "half a boundary", "nearly a boundary", "all bytes", "CRs", "LFs", "dashes"],
)
def test_a_file_of_a_form_comes_through_as_it_is(visitor: Visitor, content: bytes) -> None:
    assert visitor.ask("POST", "/forms/any", form(part("file", content, filename="a.bin")), MULTIPART).status == 200
    assert visitor.get(path_of("a.bin")).body == content


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"", MULTIPART, 400, id="nothing"),
        pytest.param(b"x" * 600_000, MULTIPART, 413, id="no boundary at all"),
        pytest.param(part("file", b"half", filename="half"), MULTIPART, 400, id="no end"),
        pytest.param(form(b"--" + BOUNDARY.encode() + b"\r\n\r\nx\r\n"), MULTIPART, 400, id="a part without a head"),
        pytest.param(
            form(b"--" + BOUNDARY.encode() + b"\r\nX: " + b"y" * 600_000), MULTIPART, 413, id="a head without an end"
        ),
        pytest.param(form(*[part("f", b"x")] * 300), MULTIPART, 413, id="too many parts"),
        pytest.param(form(part("replace", b"y" * 9000)), MULTIPART, 413, id="a long field"),
        pytest.param(form(part("replace", b"\xff")), MULTIPART, 400, id="a field that is no text"),
        pytest.param(b"x", {"Content-Type": "multipart/form-data"}, 415, id="no boundary named"),
        pytest.param(b"x", {"Content-Type": "multipart/form-data; boundary=" + "b" * 99}, 415, id="a long boundary"),
        pytest.param(b"{}", {"Content-Type": "application/json"}, 415, id="another type"),
    ],
)
def test_a_broken_form_leaves_nothing(visitor: Visitor, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = visitor.ask("POST", "/forms/any", body, headers)
    assert answer.status == status
    assert answer.headers.get_content_type() == "application/problem+json"
    assert "half" not in visitor.get("/bytes").json["names"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"name=" + b"x" * 20_000, FORM, 413),
        (b"name=%ff", FORM, 400),
        (b"&".join(b"a=%d" % number for number in range(900)), FORM, 400),
        (b'{"name": "Ada"}', {"Content-Type": "application/json"}, 415),
        (b"", {}, 415),
    ],
)
def test_a_bad_field_is_told(visitor: Visitor, body: bytes, headers: dict[str, str], status: int) -> None:
    assert visitor.ask("POST", "/forms/any", body, headers).status == status


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_stalled_forms_leave_threads_for_the_rest(tmp_path: Path, framing: str) -> None:
    """A form with files is a transfer before its first file has come."""

    def begin_form() -> RawClient:
        client = RawClient(service.app_url)
        client.send(head("POST", "/forms/any", "Content-Type: multipart/form-data; boundary=b", framing))
        return client

    with running_service(tmp_path, THREADS="5", IO_TIMEOUT="300s", SHUTDOWN_GRACE="0s") as service:
        with begin_form(), begin_form():
            wait_until("both places taken", lambda: metric(service, "server_transfers_busy") == 2)
            for _ in range(3):
                with begin_form() as refused:
                    answer = refused.answer()
                    assert (answer.status, answer.kind, answer.headers["Connection"]) == (503, "busy", "close")
            with Visitor(service.app_url) as visitor:
                assert visitor.ask("POST", "/visits").status == 200
                assert visitor.put("a", b"x").kind == "busy"
