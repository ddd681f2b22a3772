"""The log of real processes: what Python says by itself, who writes at the same time, and what a pipe does."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.processes import free_port, read_line, require, stop, wait_until

ROOT = Path(__file__).parents[2]
CANARY = "c4n4ry-Zx81-value"
BEGIN = """
import logging, os, sys, threading, warnings
from service.settings import load
from service import logs
logs.configure()
logs.install_hooks()
log = logging.getLogger("service.test")
SETTINGS = {"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp"}
"""


def environment(**more: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    return {**inherited, "PYTHONPATH": str(ROOT), **more}


def start(code: str, *, stdout: int | IO[bytes] = subprocess.PIPE) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", BEGIN + textwrap.dedent(code)]
    return subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE, bufsize=0
    )


def finish(process: "subprocess.Popen[bytes]", *, exit_code: int = 0, errors: bytes = b"") -> bytes:
    """What the process wrote to its stdout, where that is a pipe of ours."""
    out, said = process.communicate(timeout=60)
    assert said == errors
    assert process.returncode == exit_code
    return out


def run(code: str, *, exit_code: int = 0) -> list[dict[str, Any]]:
    """The records of a process that runs this code; nothing on stderr."""
    return parse(finish(start(code), exit_code=exit_code))


def parse(out: bytes) -> list[dict[str, Any]]:
    assert out == b"" or out.endswith(b"\n")
    lines = out.split(b"\n")[:-1]
    assert all(len(line) + 1 < 16 * 1024 for line in lines)
    records = [json.loads(line) for line in lines]
    for record in records:
        assert record["severity"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", record["time"])
    return records


def summary(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(record["severity"], record["message"]) for record in records]


def test_print_and_writes_to_both_streams_are_records() -> None:
    records = run(
        """
        print("one")
        print("two", "parts", end="")
        print(" of a line")
        print("several\\nlines at once")
        sys.stderr.write("a library's note\\n")
        sys.stdout.buffer.write(b"bytes \\xff\\n")
        os.write(sys.stdout.fileno(), b"")
        print("flushed", flush=True, file=sys.stderr)
        print()
        sys.stdout.writelines(["x\\n", "y"])
        """
    )
    assert summary(records) == [
        ("INFO", "one"),
        ("INFO", "two parts of a line"),
        ("INFO", "several\nlines at once"),
        ("WARNING", "a library's note"),
        ("INFO", "bytes \\xff"),
        ("WARNING", "flushed"),
        ("INFO", "x"),
        ("INFO", "y"),
    ]


def test_a_line_that_never_ends_is_a_record_before_it_takes_all_memory() -> None:
    records = run('for _ in range(100): sys.stdout.write("." * 1000)')
    assert 2 <= len(records) <= 12
    assert sum(record["message"].count(".") for record in records) == 100_000


def test_lines_of_two_threads_are_not_mixed() -> None:
    records = run(
        """
        def talk(word):
            for _ in range(200):
                print(word, word, word)
        threads = [threading.Thread(target=talk, args=(word,)) for word in ("a", "b", "c", "d")]
        [t.start() for t in threads]
        [t.join() for t in threads]
        """
    )
    assert sorted(summary(records)) == sorted(("INFO", " ".join([word] * 3)) for word in "abcd" for _ in range(200))


def test_an_uncaught_exception_is_a_record_with_its_stack() -> None:
    [record] = run(f'raise ValueError("password={CANARY}")', exit_code=1)
    assert (record["severity"], record["message"]) == ("CRITICAL", "uncaught exception")
    assert record["stack_trace"].endswith("ValueError: password=[redacted]")
    assert record["serviceContext"]["service"] == "seatrial"


def test_an_uncaught_exception_of_a_thread_is_a_record_and_a_thread_that_exits_is_none() -> None:
    [record] = run(
        """
        def fail(): raise ValueError("in a thread")
        for target in (fail, sys.exit):
            thread = threading.Thread(target=target, name="worker")
            thread.start()
            thread.join()
        """
    )
    assert summary([record]) == [("ERROR", "uncaught exception in thread worker")]
    assert record["stack_trace"].endswith("ValueError: in a thread")


def test_an_exception_that_python_can_not_raise_is_a_record() -> None:
    [record] = run(
        """
        class Bad:
            def __del__(self): raise ValueError("in __del__")
            def __repr__(self): raise ValueError("in __repr__")
        bad = Bad()
        del bad
        """
    )
    assert record["severity"] == "ERROR"
    assert record["stack_trace"].endswith("ValueError: in __del__")


def test_a_warning_is_a_record() -> None:
    [record] = run('warnings.warn("odd thing")')
    assert record["severity"] == "WARNING"
    assert "UserWarning: odd thing" in record["message"]


def test_a_keyboard_interrupt_prints_no_stack() -> None:
    [record] = run("raise KeyboardInterrupt", exit_code=-signal.SIGINT)
    assert summary([record]) == [("WARNING", "interrupted")]


def test_a_handler_that_fails_and_one_that_prints_do_no_harm() -> None:
    records = run(
        """
        class Printing(logging.Handler):
            def emit(self, record): print("from a handler", record.name)
        class Failing(logging.Handler):
            def emit(self, record):
                try: 1 / 0
                except ZeroDivisionError: self.handleError(record)
        log.addHandler(Failing())
        logging.getLogger().addHandler(Printing())
        log.info("first")
        print("second")
        """
    )
    assert ("INFO", "first") in summary(records)
    assert ("INFO", "second") in summary(records)
    assert len(records) <= 4


@pytest.mark.parametrize(("level", "expected"), [("DEBUG", 5), ("INFO", 4), ("ERROR", 2), ("CRITICAL", 1)])
def test_log_level_decides(level: str, expected: int) -> None:
    records = run(
        f"""
        logs.configure(load(SETTINGS | {{"LOG_LEVEL": "{level}"}}))
        for level in (10, 20, 30, 40, 50): log.log(level, "x")
        """
    )
    assert len(records) == expected


def test_text_is_for_a_person_and_secrets_are_not() -> None:
    process = start(
        f"""
        logs.configure(load(SETTINGS | {{"LOG_FORMAT": "text", "SESSION_URL": "redis://:{CANARY}@host/0"}}))
        print("hello\\x1b[31m")
        log.error("the word is {CANARY}")
        1 / 0
        """
    )
    first, second, third, *stack = finish(process, exit_code=1).decode().splitlines()
    assert "INFO     hello\\x1b[31m" in first
    assert "ERROR    the word is [redacted]" in second
    assert "CRITICAL uncaught exception" in third
    assert stack[-1] == "    ZeroDivisionError: division by zero"


def test_a_secret_of_the_settings_is_in_no_record() -> None:
    [record] = run(
        f"""
        logs.configure(load(SETTINGS | {{"SESSION_PASSWORD": "{CANARY}"}}))
        log.info("said the server: %s", "{CANARY}")
        """
    )
    assert record["message"] == "said the server: [redacted]"


@pytest.mark.parametrize("how", ["os.close(1)", "sys.stdout.close()", "r, w = os.pipe(); os.dup2(w, 1); os.close(r)"])
def test_when_nobody_reads_nothing_is_raised(how: str) -> None:
    process = start(f'{how}\nlog.info("x" * 100)\nlog.info("y" * 10000)\nprint("z")\nos.write(2, b"alive")')
    finish(process, errors=b"alive")


def test_a_full_disk_raises_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        finish(start('log.info("x"); os.write(2, b"alive")', stdout=full), errors=b"alive")


def test_a_pipe_that_does_not_block_gets_every_line_whole() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start('for n in range(300): log.info("%d %s", n, "x" * (n * 40))', stdout=writer)
    os.close(writer)
    out = read_slowly(reader)
    finish(process)
    assert [int(record["message"].split()[0]) for record in parse(out)] == list(range(300))


def read_slowly(reader: int) -> bytes:
    """Everything that comes out of a pipe, in small pieces, so that the pipe is full most of the time."""
    out = b""
    while part := os.read(reader, 5000):
        out += part
    os.close(reader)
    return out


def test_lines_of_eight_threads_in_two_processes_stay_whole() -> None:
    """Short and long ones together, through a pipe that is full, the second process forked from the first."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    process = start(
        """
        from service.logs import stdout_handler
        stdout_handler.PATIENCE = 60  # the reader may be slow on a busy machine, and here nothing may be dropped
        def write(name):
            for n in range(150):
                size = (10, 300, 4000, 5000, 15500)[n % 5]
                log.info("%s %d %s", name, n, name * (size // len(name)))
        who = "parent" if os.fork() else "child"
        threads = [threading.Thread(target=write, args=(f"{who}-{number}-",)) for number in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        if who == "parent": os.wait()
        """,
        stdout=writer,
    )
    os.close(writer)
    out = read_slowly(reader)
    finish(process)
    seen: dict[str, list[int]] = {}
    for record in parse(out):
        name, number, text = record["message"].split()
        assert text == name * (len(text) // len(name))
        seen.setdefault(name, []).append(int(number))
    assert len(seen) == 16
    assert all(numbers == list(range(150)) for numbers in seen.values())


def test_each_record_is_one_write() -> None:
    """A pipe in packet mode (pipe(2), O_DIRECT) hands out what one write put in."""
    reader, writer = os.pipe2(os.O_DIRECT)
    process = start(
        """
        threads = [threading.Thread(target=lambda: [log.info("x" * 500) for _ in range(50)]) for _ in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        """,
        stdout=writer,
    )
    os.close(writer)
    packets = []
    while packet := os.read(reader, 65536):
        packets.append(packet)
    os.close(reader)
    finish(process)
    assert len(packets) == 400
    assert all(len(parse(packet)) == 1 for packet in packets)


def test_a_frozen_process_holds_up_no_other_for_long() -> None:
    """It may have been stopped while it held the lock for a long line."""
    reader, writer = os.pipe()
    process = start(
        """
        import fcntl
        held = logs._handler._writer._between_processes
        pid = os.fork()
        if pid == 0:
            fcntl.lockf(held, fcntl.LOCK_EX)
            log.info("locked")
            threading.Event().wait(60)
        else:
            assert sys.stdin.buffer.readline()
            log.info("short")
            log.info("x" * 10_000)
            os.kill(pid, 9)
            os.wait()
        """,
        stdout=writer,
    )
    os.close(writer)
    assert json.loads(read_line(reader, seconds=30))["message"] == "locked"
    assert process.stdin
    process.stdin.write(b"go\n")
    records = parse(read_slowly(reader))
    finish(process)
    assert [len(record["message"]) for record in records] == [5, 10_000]


def test_a_fork_in_the_middle_of_a_line_leaves_the_new_process_able_to_write() -> None:
    records = run(
        """
        stop = threading.Event()
        def talk():
            while not stop.is_set(): log.info("parent")
        threading.Thread(target=talk).start()
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                log.info("child")
                print("printed by a child")
                os._exit(0)
            os.waitpid(pid, 0)
        stop.set()
        """
    )
    assert sum(record["message"] == "child" for record in records) == 30
    assert sum(record["message"] == "printed by a child" for record in records) == 30


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator["Gunicorn"]:
    server = Gunicorn(tmp_path)
    try:
        yield server
    finally:
        server.stop()


class Gunicorn:
    """gunicorn with our logger and middleware around a small application; stdout and stderr are kept."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._out, self._err = folder / "out", folder / "err"
        (folder / "wsgi.py").write_text(
            BEGIN
            + textwrap.dedent(
                """
                from service.metrics.registry import Metrics
                from service.http.middleware import instrument

                def app(environ, start_response):
                    if environ["PATH_INFO"] == "/raise": raise ValueError("in the application")
                    start_response("200 OK", [("Content-Type", "text/plain")])
                    if environ["PATH_INFO"] == "/break": return broken()
                    print("a print", file=environ["wsgi.errors"])
                    return [b"hello"]

                def broken():
                    yield b"x"
                    raise ValueError("too late")

                class InFlight:
                    def begin(self, method, path): return None
                    def end(self, token): pass

                settings = load(SETTINGS)
                app = instrument(app, metrics=Metrics(settings), in_flight=InFlight())
                """
            )
        )
        command = [sys.executable, "-c", BEGIN + "from gunicorn.app.wsgiapp import run; run()", "--no-control-socket"]
        command += ["--threads", "4", "-b", f"127.0.0.1:{self.port}", "--chdir", str(folder)]
        command += ["--logger-class", "service.server.logger.GunicornLogger", "wsgi:app"]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(command, stdout=out, stderr=err, env=environment())
        self.wait_for("Booting worker")

    def records(self) -> list[dict[str, Any]]:
        assert self._err.read_bytes() == b""
        return parse(self._out.read_bytes())

    def wait_for(self, message: str) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            if self._process.poll() is not None:
                raise RuntimeError(f"gunicorn ended: {self._out.read_text()} {self._err.read_text()}")
            out = self._out.read_bytes()
            return [r for r in parse(out[: out.rfind(b"\n") + 1]) if message in r["message"]]

        wait_until(f"a record with {message!r}", lambda: bool(found()))
        return found()[-1]

    def send(self, data: bytes) -> bytes:
        curl = require("curl", "curl")
        return subprocess.run(
            [curl, "-s", "--max-time", "20", f"telnet://127.0.0.1:{self.port}"],
            input=data,
            capture_output=True,
            check=False,
        ).stdout

    def stop(self) -> int:
        return stop(self._process)


def get(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n".encode()


def test_everything_that_gunicorn_says_is_a_record(gunicorn: Gunicorn) -> None:
    assert b"hello" in gunicorn.send(get("/"))
    gunicorn.wait_for("GET / 200")
    assert b"application/problem+json" in gunicorn.send(get("/raise"))
    gunicorn.wait_for("GET /raise 500")
    gunicorn.send(get("/break"))
    gunicorn.wait_for("GET /break 500")
    for malformed in (
        b'GARBAGE "}{"severity":"ALERT"\r\n\r\n',
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Header\x1b[31m: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nCookie session={CANARY}\r\n\r\n".encode(),
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    ):
        gunicorn.send(malformed)
    gunicorn.send(get("/the-last"))
    gunicorn.wait_for("GET /the-last 200")
    assert gunicorn.stop() == 0
    records = gunicorn.records()
    assert CANARY not in json.dumps(records)
    assert sum(record["message"].startswith("Invalid request from ip=") for record in records) >= 4
    assert ("WARNING", "a print") in summary(records)
    assert sum(record.get("stack_trace", "").endswith("ValueError: too late") for record in records) == 1
    assert sum("httpRequest" in record for record in records) == 4
    assert any("Starting gunicorn" in record["message"] for record in records)
    assert any("Shutting down" in record["message"] for record in records)


def test_a_worker_that_is_killed_leaves_whole_records(gunicorn: Gunicorn) -> None:
    worker = int(re.findall(r"pid: (\d+)", gunicorn.wait_for("Booting worker")["message"])[0])
    os.kill(worker, signal.SIGKILL)
    assert gunicorn.wait_for(f"Worker (pid:{worker})")["severity"] == "ERROR"
    wait_until("another worker", lambda: str(worker) not in gunicorn.wait_for("Booting worker")["message"])
    gunicorn.stop()
    gunicorn.records()


def test_the_log_of_many_requests_is_complete(gunicorn: Gunicorn) -> None:
    def visit(name: str) -> None:
        curl = require("curl", "curl")
        url = f"http://127.0.0.1:{gunicorn.port}/{name}-[1-50]"
        subprocess.run([curl, "-s", "-o", "/dev/null", url], check=True, timeout=60)

    visitors = [threading.Thread(target=visit, args=(f"v{number}",)) for number in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    gunicorn.stop()
    paths = [record["message"].split()[1] for record in gunicorn.records() if "httpRequest" in record]
    assert sorted(paths) == sorted(f"/v{visitor}-{number}" for visitor in range(4) for number in range(1, 51))
