"""The log agent as it runs: started, stopped, killed, frozen, blocked, and told nonsense."""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import AGENT, LogAgent, log_agent
from tests.support.processes import freeze, wait_until

LONGEST = 0.5  # seconds between two looks of the agent


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def numbers(records: list[dict[str, Any]]) -> list[int]:
    return [int(record["message"].split()[1]) for record in records]


def write(path: Path, *span: int) -> None:
    with path.open("a") as file:
        file.writelines(f"line {number}\n" for number in range(*span))


def sample(agent: LogAgent, name: str) -> float:
    with urllib.request.urlopen(f"{agent.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    [value] = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")]
    return float(value)


def test_what_is_there_and_what_comes_is_read_and_sigterm_reads_the_rest(tmp_path: Path, logs: Path) -> None:
    write(logs / "app.log", 100)
    with log_agent(tmp_path / "out", f"access={logs}/app.log*", tmp_path / "state") as agent:
        wait_until("what was there", lambda: len(agent.records) == 100)
        write(logs / "app.log", 100, 200)
        wait_until("what has come", lambda: len(agent.records) == 200)
        with (logs / "app.log").open("a") as file:
            file.write("line 200\nline 201 has no end")
        assert agent.terminate() == 0
        assert numbers(agent.records) == list(range(202))
    with log_agent(tmp_path / "out", f"access={logs}/app.log*", tmp_path / "state") as agent:
        wait_until("its start", lambda: len(agent.said) == 2)
        assert agent.terminate() == 0
        assert len(agent.records) == 202, "after SIGTERM nothing is sent twice"
    assert len({record["logging.googleapis.com/insertId"] for record in agent.records}) == 202


def test_killed_again_and_again_it_loses_nothing(tmp_path: Path, logs: Path) -> None:
    """Twins have the same insertId, so that Cloud Logging drops them."""
    done = threading.Event()
    written = itertools.count()

    def application() -> None:
        while not done.is_set():
            first = next(written)
            write(logs / "app.log", first * 50, first * 50 + 50)
            if first % 7 == 6:
                for number in range(500, 0, -1):
                    if (logs / f"app.log.{number}").exists():
                        (logs / f"app.log.{number}").rename(logs / f"app.log.{number + 1}")
                (logs / "app.log").rename(logs / "app.log.1")
            done.wait(0.01)

    writer = threading.Thread(target=application)
    writer.start()
    try:
        for round_ in range(6):
            with log_agent(tmp_path / f"out{round_}", f"access={logs}/app.log*", tmp_path / "state") as agent:
                wait_until("some records", lambda agent=agent: len(agent.records) > 300)  # type: ignore[misc] # bound
                agent.process.kill()
    finally:
        done.set()
        writer.join()
    with log_agent(tmp_path / "out9", f"access={logs}/app.log*", tmp_path / "state") as agent:
        wait_until("its start", lambda: bool(agent.said))
        assert agent.terminate() == 0
    records = [record for out in sorted(tmp_path.glob("out*")) for record in LogAgent(agent.process, out).records]
    assert set(numbers(records)) == set(range(next(written) * 50))
    ids = Counter(record["logging.googleapis.com/insertId"] for record in records)
    assert len(ids) == len(set(numbers(records))), "a twin has another insertId"


def test_a_record_that_grew_after_a_kill_is_not_taken_for_the_same(tmp_path: Path, logs: Path) -> None:
    """Cloud Logging would drop its new lines with it."""
    (logs / "app.log").write_text("begin\n one\n")
    with log_agent(tmp_path / "out", f"generic={logs}/app.log", tmp_path / "state") as agent:
        wait_until("the record", lambda: len(agent.records) == 1)
        agent.process.kill()
    (tmp_path / "state").unlink(missing_ok=True)
    with (logs / "app.log").open("a") as file:
        file.write(" two\n")
    with log_agent(tmp_path / "out", f"generic={logs}/app.log", tmp_path / "state") as agent:
        wait_until("the record again", lambda: len(agent.records) == 2)
    ids = {record["logging.googleapis.com/insertId"] for record in agent.records}
    assert len(ids) == 2


def test_frozen_through_rotations_it_loses_nothing(tmp_path: Path, logs: Path) -> None:
    with log_agent(tmp_path / "out", f"access={logs}/app*", tmp_path / "state") as agent:
        write(logs / "app.log", 50)
        wait_until("the first", lambda: len(agent.records) == 50)
        freeze(agent.process.pid)
        write(logs / "app.log", 50, 60)
        shutil.copy(logs / "app.log", logs / "app.log.1")
        os.truncate(logs / "app.log", 0)
        write(logs / "app.log", 60, 90)
        (logs / "app.log").rename(logs / "app-2.log")
        write(logs / "app.log", 90, 100)
        frozen_at = time.monotonic()
        wait_until("longer than it sleeps", lambda: time.monotonic() - frozen_at > 2 * LONGEST)
        os.kill(agent.process.pid, signal.SIGCONT)
        wait_until("the rest", lambda: len(agent.records) >= 100)
        write(logs / "app.log", 100, 110)
        wait_until("what came after it", lambda: len(agent.records) >= 110)
        assert agent.terminate() == 0
        assert sorted(numbers(agent.records)) == list(range(110))


def test_a_stdout_that_blocks_stops_the_reading_and_not_the_writer(tmp_path: Path, logs: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe:
        with log_agent(tmp_path / "out", f"access={logs}/app.log", tmp_path / "state", stdout=writer) as agent:
            os.close(writer)
            port = json.loads(pipe.readline())["message"].rpartition(" ")[2]
            write(logs / "app.log", 20_000)

            def lag() -> float:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    assert answer.status == 200  # whoever reads is at fault, not the agent
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                    text = answer.read().decode()
                return float(text.partition("\nlog_agent_records_total ")[2].partition("\n")[0])

            wait_until("its begin", lambda: not pipe.closed and lag() == 0)
            write(logs / "app.log", 20_000, 20_100)  # the application writes on
            found = 0
            for line in pipe:
                found += json.loads(line).get("logger") != "log_agent"
                if found == 20_100:
                    break
            assert agent.terminate() == 0


def test_a_reader_that_is_gone_ends_it(tmp_path: Path, logs: Path) -> None:
    reader, writer = os.pipe()
    with log_agent(tmp_path / "out", f"access={logs}/app.log", None, stdout=writer) as agent:
        os.close(writer)
        os.close(reader)
        write(logs / "app.log", 10)
        assert agent.process.wait(20) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 99}', b'{"version": 1, "files": [{}]}', b"\xff\0" * 99]
)
def test_a_checkpoint_that_is_none_is_told_and_nothing_is_lost(tmp_path: Path, logs: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    write(logs / "app.log", 30)
    with log_agent(tmp_path / "out", f"access={logs}/app.log", tmp_path / "state") as agent:
        wait_until("all records", lambda: len(agent.records) == 30)
        assert agent.terminate() == 0
        assert any("the checkpoint can't be used" in said for said in agent.said)


def test_a_state_that_cant_be_written_is_told_once_and_counted(tmp_path: Path, logs: Path) -> None:
    write(logs / "app.log", 30)
    with log_agent(tmp_path / "out", f"access={logs}/app.log", tmp_path / "missing" / "state") as agent:
        wait_until("all records", lambda: len(agent.records) == 30)
        write(logs / "app.log", 30, 40)
        wait_until("two failures", lambda: sample(agent, "log_agent_checkpoint_failures_total") >= 2)
        assert len([said for said in agent.said if "the checkpoint can't be written" in said]) == 1
        (tmp_path / "missing").mkdir()
        wait_until("its return", lambda: any("can be written again" in said for said in agent.said))


def test_a_folder_that_becomes_a_link_is_not_followed(tmp_path: Path, logs: Path) -> None:
    """The application may write where its logs are, and so replace a folder there."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    write(secrets / "app.log", 90, 95)
    inner = logs / "inner"
    inner.mkdir()
    write(inner / "app.log", 5)
    with log_agent(tmp_path / "out", f"access={inner}/app.log", tmp_path / "state") as agent:
        wait_until("its records", lambda: len(agent.records) == 5)
        inner.rename(logs / "gone")
        inner.symlink_to(secrets)
        wait_until("its word", lambda: any("is passed over: a part of it is a link" in said for said in agent.said))
        assert agent.terminate() == 0
        assert numbers(agent.records) == list(range(5))


def test_many_files_with_odd_names_are_read(tmp_path: Path, logs: Path) -> None:
    """Their number must not count twice: with each file compared to each other this would last for minutes."""
    for number in range(5000):
        write(logs / f"app.{number}.log", number, number + 1)
    write(logs / "app\nwith a line's end.log", 5000, 5001)
    write(Path(os.fsdecode(bytes(logs) + b"/app.\xff.log")), 5001, 5002)
    with log_agent(tmp_path / "out", f"access={logs}/app*.log", tmp_path / "state") as agent:
        wait_until("its records", lambda: (tmp_path / "out").read_bytes().count(b"\n") >= 5003, seconds=60)
        assert agent.terminate() == 0
        assert sorted(numbers(agent.records)) == list(range(5002))


def test_a_file_that_cant_be_read_is_told_and_read_when_it_can(tmp_path: Path, logs: Path) -> None:
    # root would read everything
    prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    write(logs / "app.log", 5)
    (logs / "app.log").chmod(0)
    with log_agent(tmp_path / "out", f"access={logs}/app.log", None, prefix=prefix) as agent:
        wait_until("its word", lambda: any("is passed over: Permission denied" in said for said in agent.said))
        (logs / "app.log").chmod(0o644)
        wait_until("its records", lambda: len(agent.records) == 5)


def test_links_and_packed_copies_are_left_alone(tmp_path: Path, logs: Path) -> None:
    (tmp_path / "secret").write_text("line 99\n")
    (logs / "app.log.link").symlink_to(tmp_path / "secret")
    (logs / "app.log.1.gz").write_bytes(b"line 98\n")
    os.mkfifo(logs / "app.log.pipe")
    (logs / "app.log.folder").mkdir()
    write(logs / "app.log", 5)
    with log_agent(tmp_path / "out", f"access={logs}/app.log*", tmp_path / "state") as agent:
        wait_until("its records", lambda: len(agent.records) == 5)
        assert agent.terminate() == 0
        assert numbers(agent.records) == list(range(5))
        assert len([said for said in agent.said if "is passed over: it is no regular file" in said]) == 3


def test_what_was_deleted_unread_is_counted_to_the_byte(tmp_path: Path, logs: Path) -> None:
    """Retention too small for an outage: nobody reads stdout, the agent is killed, and then the file is deleted."""
    reader, writer = os.pipe()
    log, state = logs / "app.log", tmp_path / "state"
    with log.open("w") as file:
        file.writelines(f"line {number} {'x' * 1000}\n" for number in range(9000))  # more than it reads in one turn
    size = log.stat().st_size
    with os.fdopen(reader, "rb") as pipe:
        with log_agent(tmp_path / "out", f"access={logs}/app.log", state, stdout=writer) as agent:
            os.close(writer)
            while not state.exists() or not json.loads(state.read_bytes())["files"]:
                assert pipe.readline()
            agent.process.kill()
            agent.process.wait()
    [entry] = json.loads(state.read_bytes())["files"]
    saved = entry["mark"]["offset"]
    assert 0 < saved < size
    log.unlink()
    with log_agent(tmp_path / "out2", f"access={logs}/app.log", state) as agent:
        wait_until("its start", lambda: bool(agent.said))
        lost = "log_agent_deleted_unread_bytes_total"
        wait_until("the count", lambda: sample(agent, lost) == size - saved, seconds=30)
        assert sample(agent, "log_agent_deleted_unread_files_total") == 1


def test_the_metrics_count_what_happened(tmp_path: Path, logs: Path) -> None:
    write(logs / "app.log", 10)
    with log_agent(tmp_path / "out", f"tomcat={logs}/app.log*", tmp_path / "state") as agent:
        wait_until("a record", lambda: len(agent.records) == 1)  # to Tomcat's eyes all of it is one
        (logs / "app.log").rename(logs / "app.log.1")
        write(logs / "app.log", 1)
        wait_until("the new file", lambda: len(agent.records) == 2)
        assert sample(agent, "log_agent_lines_total") == 11
        assert sample(agent, "log_agent_records_total") == 2
        assert sample(agent, "log_agent_unparsed_records_total") == 2
        assert sample(agent, 'log_agent_rotations_total{kind="rename"}') == 1
        wait_until("no lag", lambda: sample(agent, "log_agent_lag_bytes") == 0)
        assert sample(agent, "log_agent_files") == 2


def run(**environ: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "log_agent"]
    environ |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(AGENT)}
    return subprocess.run(command, env=environ, capture_output=True, check=False, timeout=30)


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({}, "LOG_FILES must be set"),
        ({"LOG_FILES": "/logs/a.log"}, "is none of the formats tomcat, access, python, generic"),
        ({"LOG_FILES": "tomcat=a.log"}, "is not a path from the root"),
        ({"LOG_FILES": "tomcat=/logs/../a.log"}, "is not a path from the root"),
        ({"LOG_FILES": "tomcat=/*/a.log"}, "has a wildcard in a folder's name"),
        ({"LOG_FILES": "tomcat=/logs/a", "PORT": "x"}, "PORT must be a number"),
        ({"LOG_FILES": "tomcat=/logs/a", "STATE_FILE": "state"}, "STATE_FILE must be a path from the root"),
        ({"LOG_FILES": "tomcat=/logs/a", "RECORD_SECONDS": "nan"}, "RECORD_SECONDS must be a number of seconds"),
        ({"LOG_FILES": "tomcat=/logs/"}, "is a folder"),
        ({"LOG_FILES": "tomcat=/logs/*", "STATE_FILE": "/logs/state"}, "STATE_FILE must not be among LOG_FILES"),
        ({"LOG_FILES": "tomcat=/logs/a", "HOST": "." * 9}, "can't listen on ........."),
        ({"LOG_FILES": "tomcat=/logs/a", "HOST": "192.0.2.1"}, "can't listen on 192.0.2.1 port 9095"),
    ],
)
def test_a_wrong_configuration_is_told(environ: dict[str, str], fault: str) -> None:
    done = run(**environ)
    assert done.returncode == 2
    [record] = [json.loads(line) for line in done.stdout.splitlines()]
    assert fault in record["message"]
    assert record["severity"] == "CRITICAL"
    assert done.stderr == b""


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(LOG_FILES="tomcat=/logs/a", HOST="127.0.0.1", PORT=str(port))
    assert done.returncode == 2
    assert f"can't listen on 127.0.0.1 port {port}: Address already in use" in json.loads(done.stdout)["message"]
    assert done.stderr == b""


def test_every_error_is_named_at_once() -> None:
    done = run(LOG_FILES="a=/b c=/d", PORT="99999")
    assert len(done.stdout.splitlines()) == 3


def test_help_is_there() -> None:
    command = [sys.executable, "-m", "log_agent", "--help"]
    done = subprocess.run(command, env={"PYTHONPATH": str(AGENT)}, capture_output=True, check=True)
    assert b"LOG_FILES" in done.stdout
