"""Starting, and not starting: the options, the ports, the settings, and what they get wrong. Each fault is one record
that says what to do, and an exit code."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from service.settings import setting_fields
from tests.probe import path_of
from tests.support.http import Visitor
from tests.support.processes import free_port, wait_until
from tests.support.redis import redis_server
from tests.support.service import PROJECT, Record, Service, running_service

SECRET = "correct-horse-battery"


def run(folder: Path, *arguments: str, **settings: str) -> Service:
    """The service, when it has ended by itself."""
    with running_service(folder, settings, module="service", wait=False, arguments=arguments) as service:
        service.process.wait(60)
        service.wait_for_end()
    assert service.stderr == b""
    assert SECRET.encode() not in service.stdout
    return service


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process catches the signal (proc(5), SigCgt), as our code asks it to, not Python by itself."""
    rows = dict(row.split(":\t", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines())
    caught = int(rows["SigCgt"], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1) and bool(caught >> (number - 1) & 1)


def of_severity(service: Service, *severities: str) -> list[Record]:
    return [record for record in service.log if record["severity"] in severities]


@pytest.mark.parametrize("setting", ["PORT", "OPS_PORT"])
def test_a_port_in_use_is_named(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = run(tmp_path, **{setting: str(port)})
    assert service.exit_code == 1
    [record] = service.log
    assert record["severity"] == "CRITICAL"
    assert record["message"].startswith(f"{setting}: can't listen on 127.0.0.1 port {port}: Address already in use")


def test_an_address_that_is_not_here_is_named(tmp_path: Path) -> None:
    service = run(tmp_path, HOST="192.0.2.1")
    assert service.exit_code == 1
    [record] = service.log
    assert record["severity"] == "CRITICAL"
    assert record["message"].startswith("HOST: can't listen on 192.0.2.1: ")


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_while_it_starts_it_ends(tmp_path: Path, asked: signal.Signals) -> None:
    """At whatever moment of the start: the imports take most of it."""
    for wait in (0.05, 0.1, 0.2, 0.3, 0.4):
        with running_service(tmp_path, module="service", wait=False) as service:
            wait_until("Python has begun", lambda: handles(service.process.pid, asked))
            time.sleep(wait)  # the moments between are what is tested
            service.process.send_signal(asked)
            service.process.wait(60)
            service.wait_for_end()
        assert (service.exit_code, service.stderr) == (0, b"")


def test_help_names_every_setting(tmp_path: Path) -> None:
    service = run(tmp_path, "--help")
    assert service.exit_code == 0
    text = service.stdout.decode()
    rows = {line.split()[0]: line.split(maxsplit=1)[1:] for line in text.splitlines() if line.startswith("  ")}
    assert rows.keys() >= setting_fields().keys()
    assert rows["SESSION_URL"] == ["must be set"]
    assert rows["THREADS"] == ["8"]
    assert "--check" in text


def test_version_is_the_one_that_runs(tmp_path: Path) -> None:
    service = run(tmp_path, "--version", VERSION="1.2.3-rc1")
    assert (service.exit_code, service.stdout) == (0, b"seatrial 1.2.3-rc1\n")


def test_the_version_of_a_checkout_is_the_project_s(tmp_path: Path) -> None:
    service = run(tmp_path, "--version")
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert service.stdout.decode() == f"seatrial {project['version']}\n"


@pytest.mark.parametrize("what", ["a file", "nothing", "a name that is too long", "a folder with a pipe in it"])
def test_a_settings_folder_that_can_not_be_read_is_an_error(tmp_path: Path, what: str) -> None:
    folder = tmp_path / ("x" * 300 if what == "a name that is too long" else "settings")
    if what == "a file":
        folder.touch()
    elif what == "a folder with a pipe in it":
        folder.mkdir()
        os.mkfifo(folder / "SESSION_PASSWORD")
    service = run(tmp_path, SETTINGS_DIR=str(folder))
    assert service.exit_code == 2
    [record] = service.log
    assert record["severity"] == "CRITICAL"
    assert "SETTINGS_DIR" in record["message"]


def test_the_check_tells_a_store_that_can_not_be_set_up_from_one_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    url = f"rediss://127.0.0.1:{free_port()}"
    service = run(tmp_path, "--check", SESSION_URL=url, SESSION_TLS_CA_FILE=str(tmp_path / "ca.pem"))
    assert service.exit_code == 3


def test_the_check_reaches_the_stores_and_serves_nobody(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", SECRET) as redis:
        service = run(tmp_path, "--check", SESSION_URL=f"redis://:{SECRET}@127.0.0.1:{redis.port}/0")
    assert service.exit_code == 0
    said = [record["message"] for record in service.log if "can serve" in record["message"]]
    assert len(said) == 2
    assert said[0].startswith("sessions can serve")
    assert said[1].startswith("storage can serve")
    assert of_severity(service, "WARNING", "ERROR", "CRITICAL") == []


def test_the_check_names_each_store_that_is_out_of_reach(tmp_path: Path) -> None:
    service = run(
        tmp_path,
        "--check",
        SESSION_URL=f"redis://visitor:{SECRET}@127.0.0.1:{free_port()}/0",
        STORAGE_URL=f"file://{tmp_path}/nowhere",
    )
    assert service.exit_code == 1
    sessions, storage = of_severity(service, "ERROR")
    assert sessions["message"].startswith("sessions can't serve: ")
    assert storage["message"].startswith("storage can't serve: ")
    assert "nowhere" in storage["message"]


def test_the_check_knows_a_wrong_password(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "another") as redis:
        service = run(tmp_path, "--check", SESSION_URL=f"redis://:{SECRET}@127.0.0.1:{redis.port}/0")
    assert service.exit_code == 1
    [record] = of_severity(service, "ERROR")
    assert record["message"].startswith("sessions can't serve: ")


@pytest.mark.parametrize("arguments", [(), ("--check",)])
def test_every_error_in_the_settings_is_named_before_anything_is_opened(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    faults = {"SESSION_URL": f"http://u:{SECRET}@h", "THREADS": "many", "PORT": "99999", "KEEP_ALIVE": "soon"}
    service = run(tmp_path, *arguments, **faults)
    assert service.exit_code == 2
    assert {record["message"].split()[0] for record in service.log} == faults.keys()
    assert len(of_severity(service, "CRITICAL")) == len(service.log) == len(faults)


def test_a_name_that_is_nearly_a_setting_is_a_warning(tmp_path: Path) -> None:
    service = run(tmp_path, "--check", SESSION_TIMOUT="1s")
    assert service.exit_code == 0
    messages = [record["message"] for record in of_severity(service, "WARNING")]
    assert "SESSION_TIMOUT is not a setting; did you mean SESSION_TIMEOUT?" in messages


@pytest.mark.parametrize("misspelt", ["SESION_URL", "session_url"])
def test_a_setting_that_is_missing_because_its_name_is_misspelt_is_told_so(tmp_path: Path, misspelt: str) -> None:
    service = run(tmp_path, SESSION_URL="", **{misspelt: "memory://"})
    assert service.exit_code == 2
    assert [record["message"] for record in service.log] == [
        "SESSION_URL must be set; see docs/settings.md",
        f"{misspelt} is not a setting; did you mean SESSION_URL?",
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_can_not_be_set_up_ends_the_service(tmp_path: Path, workers: str) -> None:
    """A restart would not help, so workers are not started again and again."""
    (tmp_path / "ca.pem").write_text("no certificate")
    service = run(
        tmp_path,
        SESSION_URL=f"rediss://visitor:{SECRET}@127.0.0.1:{free_port()}/0",
        SESSION_TLS_CA_FILE=str(tmp_path / "ca.pem"),
        WEB_CONCURRENCY=workers,
    )
    assert service.exit_code == 3
    critical = of_severity(service, "CRITICAL")
    assert 1 <= len(critical) <= int(workers)
    assert critical[0]["message"].startswith("can't set up the stores of SESSION_URL and STORAGE_URL: ")
    assert "certificate" in critical[0]["message"]
    started = [record for record in service.log if record["message"].startswith("Booting worker")]
    assert len(started) <= int(workers)
    assert not [record for record in service.log if record["message"] == "serving"]


def test_a_record_of_gunicorn_names_its_own_source_line(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        [record] = [record for record in service.log if record["message"].startswith("Booting worker")]
    location = record["logging.googleapis.com/sourceLocation"]
    assert location["file"].endswith("gunicorn/arbiter.py")


def without_libraries(folder: Path, *names: str) -> str:
    """A PYTHONPATH on which these can't be imported."""
    for name in names:
        package = folder / "missing" / name
        package.mkdir(parents=True)
        said = f"No module named {name!r}"
        (package / "__init__.py").write_text(f"raise ModuleNotFoundError({said!r})")
    return str(folder / "missing")


def test_a_fork_needs_only_the_libraries_of_its_stores(tmp_path: Path) -> None:
    path = without_libraries(tmp_path, "redis", "hiredis", "pymemcache", "google", "urllib3", "requests")
    with running_service(tmp_path, PYTHONPATH=path) as service, Visitor(service.app_url) as visitor:
        assert visitor.put("a", b"x").status == 201
        assert visitor.get(path_of("a")).body == b"x"


@pytest.mark.parametrize(
    ("library", "setting", "url", "extra"),
    [
        ("redis", "SESSION_URL", "redis://127.0.0.1:1", "seatrial[redis]"),
        ("pymemcache", "SESSION_URL", "memcached://127.0.0.1:1", "seatrial[memcached]"),
        ("google", "STORAGE_URL", "gs://bucket", "seatrial[gcs]"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--check",)], ids=["start", "check"])
def test_a_missing_client_library_is_named(
    tmp_path: Path, *, library: str, setting: str, url: str, extra: str, arguments: tuple[str, ...]
) -> None:
    service = run(tmp_path, *arguments, **{setting: url, "PYTHONPATH": without_libraries(tmp_path, library)})
    assert service.exit_code == 3
    said = [record["message"] for record in of_severity(service, "ERROR", "CRITICAL")]
    assert any(f"{setting}'s store is missing (No module named {library!r})" in text and extra in text for text in said)


def test_a_feature_that_can_not_be_imported_is_one_record(tmp_path: Path) -> None:
    """Its settings are read before all others; without a record, a cluster would show lines of a stack."""
    feature = tmp_path / "broken"
    feature.mkdir()
    (feature / "__init__.py").touch()
    (feature / "settings.py").write_text("raise RuntimeError('this feature is broken')")
    code = "import service, sys; service.FEATURES = ('broken',); from service.__main__ import main; sys.exit(main())"
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}:{PROJECT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    (record,) = map(json.loads, done.stdout.splitlines())
    assert (record["severity"], done.returncode, done.stderr) == ("CRITICAL", 2, "")
    assert "this feature is broken" in json.dumps(record)
