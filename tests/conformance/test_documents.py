"""A service without files: what it keeps are JSON documents, and the suite is told how one is made."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.kept import place
from tests.conformance.scene import Scene
from tests.support.fleet import fleet, steady_port

SIGN_IN = "--setup=POST /login"
POST, PUT = (
    f'--resource-path={call} {{"text": "{{unique}}", "tags": [1]}}' for call in ("POST /notes", "PUT /notes/{unique}")
)
IN_FLIGHT = "stop.requests_in_flight_finish"


@contextlib.contextmanager
def json_api(folder: Path, **environ: str) -> Iterator[Scene]:
    """Two instances of it, on a folder that they share where ``environ`` says nothing else."""
    notes = folder / "notes"
    notes.mkdir()
    with fleet(folder) as processes:
        ports = [steady_port() for _ in range(2)]
        for number, port in enumerate(ports, 1):
            own = {"PATH": os.environ["PATH"], "PORT": str(port)} | (environ or {"NOTES": str(notes)})
            command = [sys.executable, "-m", "tests.conformance.twins.json_api"]
            processes.add(str(number), command, port=port, environ=own)
        options = ["--base-url=" + ",".join(f"http://127.0.0.1:{port}" for port in ports), "--only=2a,stop"]
        options += [f"--{verb}-command={processes.command(verb, '{instance}')}" for verb in ("stop", "kill", "start")]
        options += ["--visits-path=", "--session-path=", "--files-path=", "--ready-path=", "--notice=0.8", "--grace=8"]
        yield Scene(processes, ports, options)


@pytest.mark.parametrize(
    ("base_url", "location"),
    [
        ("http://localhost", "/notes/7"),
        ("http://localhost/", "http://localhost/notes/7"),
        ("http://localhost", "notes/7"),
        ("http://localhost/shop", "https://example.com/shop/notes/7"),  # from outside of an ingress's prefix
        ("http://localhost/shop", "/notes/7"),  # of a service that does not know the prefix
    ],
)
def test_a_document_is_where_location_says(base_url: str, location: str) -> None:
    assert place(base_url, "/notes", location) == "/notes/7"
    assert place(base_url, "/notes", f"{location}?v=1") == "/notes/7?v=1"


@pytest.mark.parametrize("resource", [POST, PUT], ids=["post", "put"])
def test_documents_are_read_back_and_one_in_flight_is_answered(tmp_path: Path, resource: str) -> None:
    with json_api(tmp_path) as service:
        run = service.conform(SIGN_IN, resource, "--require=2a,stop")
    assert (run.rows("ok"), run.rows("broken"), run.rows("not run"), run.code) == ({"2a", "stop"}, set(), set(), 0), (
        run.table
    )
    saw = {check["check"]: check["saw"] for check in run.checks}
    assert saw["2a.state_survives"] == "2 kills, the document is the same after each"
    assert "document" in saw[IN_FLIGHT]


def test_documents_in_memory_are_red(tmp_path: Path) -> None:
    with json_api(tmp_path, NOTHING="shared") as service:
        run = service.conform(SIGN_IN, POST)
    assert run.red == {"2a.state_is_shared", "2a.state_survives"}, run.table
    assert "document" in run.broken("2a")
    assert ": 404" in run.broken("2a")


def test_a_document_that_is_cut_off_is_red(tmp_path: Path) -> None:
    with json_api(tmp_path, CUT="yes", NOTES=str(tmp_path / "notes")) as service:
        run = service.conform(SIGN_IN, PUT)
    assert run.red == {IN_FLIGHT}, run.table


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((POST,), "POST /notes gets 401: give --resource-path, or sign in by --setup"),
        ((SIGN_IN, '--resource-path=POST /login {"text": "a"}'), "POST /login gets 204 without a Location"),
        ((SIGN_IN,), "give --files-path, below which files are kept, or --resource-path"),
    ],
)
def test_what_makes_no_document_is_not_run(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    with json_api(tmp_path) as service:
        run = service.conform(*options, "--only=2a,5a")
    assert run.rows("broken") == set(), run.table
    assert words in {check["check"]: check["saw"] for check in run.checks}["2a.state_is_shared"]
