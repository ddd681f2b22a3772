"""The log of a whole life: from a bad setting to the last access line, every line of stdout is one JSON record."""

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.probe import path_of
from tests.support.http import Visitor
from tests.support.processes import wait_until
from tests.support.service import Service, running_service

MAX_LINE = 16 * 1024
SEVERITIES = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
CANARY = "canary-4f9c1e"


def send_raw(url: str, data: bytes) -> bytes:
    """Send bytes as they are and read until the server closes."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


def assert_record(line: bytes) -> dict[str, Any]:
    assert len(line) <= MAX_LINE
    record = json.loads(line)
    assert isinstance(record, dict)
    assert record["severity"] in SEVERITIES
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", record["time"])
    assert isinstance(record["message"], str)
    if "httpRequest" in record:
        request = record["httpRequest"]
        assert isinstance(request["status"], int)
        assert isinstance(request["responseSize"], str)
        assert re.fullmatch(r"[0-9.]+s", request["latency"])
    if "logging.googleapis.com/sourceLocation" in record:
        assert isinstance(record["logging.googleapis.com/sourceLocation"]["line"], str)
    return record


def assert_life(service: Service) -> list[dict[str, Any]]:
    """Every line that was written, checked; nothing on stderr."""
    assert service.stderr == b""
    lines = service.stdout.splitlines()
    assert service.stdout.endswith(b"\n")
    return [assert_record(line) for line in lines]


def access(service: Service, ending: str) -> dict[str, Any]:
    return service.wait_for(lambda r: r.get("httpRequest", {}).get("requestUrl", "").endswith(ending))


def test_every_line_of_a_life_is_one_record(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        with Visitor(service.app_url) as visitor:
            visitor.get("/")
            visitor.put("a", b"x" * 100_000)
            visitor.get("/nowhere?" + "q" * 3000)
            visitor.ask("GET", "/api/instance", headers={"User-Agent": '"}\n{"severity":"ALERT'.replace("\n", "")})
        for malformed in (
            b"GARBAGE\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
            b'GET /"}{"severity":"ALERT" HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\xff\r\n\r\n',
            b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PUT /bytes/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            b"PUT /bytes/a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nshort",
        ):
            send_raw(service.app_url, malformed)
        with socket.create_connection(("127.0.0.1", int(service.app_url.rpartition(":")[2].strip("/")))) as gone:
            gone.sendall(b"GET /api/instance HTTP/1.1\r\n")  # hangs up in the middle of the head
        with Visitor(service.app_url) as visitor:
            visitor.get("/last")
        access(service, "/last")
        service.terminate()
        assert service.exit_code == 0
        records = assert_life(service)
    assert not any(record["severity"] == "ALERT" for record in records)
    assert sum("httpRequest" in record for record in records) >= 7
    refused = [record for record in records if record["message"].startswith("refused a malformed request")]
    assert refused
    assert {record["severity"] for record in refused} == {"INFO"}


def test_a_killed_worker_leaves_whole_lines_and_is_replaced(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        worker = int(children.read_text().split()[0])
        os.kill(worker, signal.SIGKILL)
        wait_until("another worker", lambda: children.read_text().split() not in ([], [str(worker)]))
        with Visitor(service.app_url) as visitor:
            assert visitor.get("/after-the-kill").status == 404
        access(service, "/after-the-kill")
        service.terminate()
        records = assert_life(service)
    assert any(record["severity"] == "ERROR" and str(worker) in record["message"] for record in records)


def test_the_last_access_line_is_in_the_log(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        with Visitor(service.app_url) as visitor:
            for number in range(200):
                visitor.get(f"/nowhere/{number}")
        service.terminate()
        records = assert_life(service)
    urls = [record["httpRequest"]["requestUrl"] for record in records if "httpRequest" in record]
    assert [url.rpartition("/")[2] for url in urls if "/nowhere/" in url] == [str(n) for n in range(200)]


def test_a_secret_appears_nowhere_in_the_log(tmp_path: Path) -> None:
    """Through headers, query, a form, a cookie, a broken head, and the stores' own addresses."""
    with running_service(
        tmp_path, SESSION_URL=f"redis://:{CANARY}@127.0.0.1:1/0", LOG_LEVEL="DEBUG", SESSION_PASSWORD=CANARY
    ) as service:
        headers = {
            "Authorization": f"Bearer {CANARY}",
            "Cookie": f"session={CANARY}; other={CANARY}",
            "X-Api-Key": CANARY,
        }
        with Visitor(service.app_url) as visitor:
            visitor.ask("GET", f"/nowhere?token={CANARY}&X-Goog-Signature={CANARY}", headers=headers)
            visitor.ask("POST", "/visits", f"password={CANARY}".encode(), headers)
            visitor.ask("GET", "/session", headers=headers)
            visitor.ask("GET", "/end")
        send_raw(service.app_url, f"GET / HTTP/1.1\r\nAuthorization: Bearer {CANARY}\r\nBad Header\r\n\r\n".encode())
        access(service, "/end")
        service.terminate()
        assert_life(service)
        assert CANARY.encode() not in service.stdout


def test_traces_are_taken_up_and_hostile_ones_are_not(tmp_path: Path) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with running_service(tmp_path, GOOGLE_CLOUD_PROJECT="project-1") as service, Visitor(service.app_url) as visitor:
        visitor.ask("GET", "/good", headers={"traceparent": f"00-{trace}-{span}-01"})
        visitor.ask("GET", "/google", headers={"X-Cloud-Trace-Context": f"{trace}/67667974448284343;o=1"})
        for number, hostile in enumerate(
            (f"ff-{trace}-{span}-01", f"00-{'0' * 32}-{span}-01", f'00-{trace}"-{span}-01', "x" * 4000)
        ):
            visitor.ask("GET", f"/bad{number}", headers={"traceparent": hostile})
        good = access(service, "/good")
        assert good["logging.googleapis.com/trace"] == f"projects/project-1/traces/{trace}"
        assert good["trace_id"] == trace
        assert re.fullmatch(r"[0-9a-f]{16}", good["span_id"])
        assert good["logging.googleapis.com/trace_sampled"] is True
        assert access(service, "/google")["trace_id"] == trace
        for number in range(4):
            assert access(service, f"/bad{number}")["trace_id"] != trace


@pytest.mark.parametrize("faults", [{"PORT": "x", "LOG_LEVEL": "y", "SESSION_URL": "z"}, {"STORAGE_URL": ""}])
def test_every_error_of_the_settings_is_a_record_of_its_own(tmp_path: Path, faults: dict[str, str]) -> None:
    with running_service(tmp_path, faults, wait=False) as service:
        assert service.process.wait(20) == 2
        service.wait_for_end()
        records = assert_life(service)
    for name in faults:
        assert sum(record["message"].startswith(name) for record in records) == 1
    assert {record["severity"] for record in records} == {"CRITICAL"}


def test_text_is_for_a_person(tmp_path: Path) -> None:
    with running_service(tmp_path, wait=False, LOG_FORMAT="text", PORT="x", STORAGE_URL="y") as service:
        assert service.process.wait(20) == 2
        service.wait_for_end()
        assert b"STORAGE_URL must" in service.stdout
        assert not service.stdout.startswith(b"{")


def test_an_upload_that_the_client_breaks_off_is_in_the_log(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        with socket.create_connection(("127.0.0.1", int(service.app_url.rpartition(":")[2].strip("/")))) as gone:
            head = f"PUT {path_of('half')} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
            gone.sendall(head.encode() + b"x" * 50_000)
        assert access(service, "/half")["httpRequest"]["status"] == 400
        service.terminate()
        assert_life(service)
