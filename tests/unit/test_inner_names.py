"""The undocumented names of libraries that service/ relies on: each that is gone after a renewal is named.

The same table, with the reasons, is in docs/decisions/0007-few-dependencies.md.
"""

import importlib
import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "decisions" / "0007-few-dependencies.md"
MOST = 35

# Library, the module of ours, and the names: a class or function by its dotted path, and what is used of it.
INNER = [
    ("gunicorn", "server/arbiter.py", "gunicorn.arbiter.Arbiter", "run SIG_NAMES signal stop reap_workers"),
    ("gunicorn", "server/arbiter.py", "gunicorn.errors.HaltServer", ""),
    ("gunicorn", "server/worker.py", "gunicorn.workers.base.Worker", "sockets wsgi ppid"),
    ("gunicorn", "server/worker.py", "gunicorn.http.wsgi.create", ""),
    (
        "gunicorn",
        "server/worker.py",
        "gunicorn.http.wsgi.Response",
        "start_response write close force_close should_close headers_sent response_length sent",
    ),
    ("gunicorn", "server/worker.py", "gunicorn.http.errors.ParseException", ""),
    ("gunicorn", "server/request_reader.py", "gunicorn.http.parser.RequestParser", "unreader"),
    ("gunicorn", "server/request_reader.py", "gunicorn.http.unreader.Unreader", "take_buffered"),
    ("gunicorn", "server/request_reader.py", "gunicorn.http.errors.LimitRequestLine", ""),
    ("gunicorn", "server/request_reader.py", "gunicorn.http.errors.LimitRequestHeaders", ""),
    ("gunicorn", "server/request_reader.py", "gunicorn.http.errors.ParseException", ""),
    ("gunicorn", "server/error_responses.py", "gunicorn.http.errors.ExpectationFailed", ""),
    ("gunicorn", "server/error_responses.py", "gunicorn.http.errors.UnsupportedTransferCoding", ""),
    ("gunicorn", "server/error_responses.py", "gunicorn.http.errors.InvalidHTTPVersion", ""),
    ("redis", "sessions/redis_connection.py", "redis.connection.Connection", "_connect"),
    ("pymemcache", "sessions/memcached.py", "pymemcache.client.base.Client", "_connect _fetch_cmd sock"),
    ("google-cloud-storage", "storage/gcs/client.py", "google.cloud.storage.Client", "_http"),
    ("prometheus-client", "metrics/exposition.py", "prometheus_client.multiprocess.MultiProcessCollector", "merge"),
]


def names() -> list[tuple[str, str, str, str]]:
    """Library, module of ours, class or function, and a name of it ("" for itself)."""
    found = []
    for library, module, path, members in INNER:
        # A class is counted where none of its members is, as it is documented or comes with them.
        found += [(library, module, path, member) for member in members.split() or [""]]
    return found


@pytest.mark.parametrize(("library", "module", "path", "member"), names())
def test_the_name_is_there(library: str, module: str, path: str, member: str) -> None:
    where, _, name = path.rpartition(".")
    said = f"{library} {version(library)} has no {path}.{member}, which service/{module} relies on"
    found = getattr(importlib.import_module(where), name, None)
    assert found is not None, said
    if member and not hasattr(found, member):
        sources = "".join(inspect.getsource(kind) for kind in found.__mro__ if kind is not object)
        assert re.search(rf"self\.{member}\b", sources), said


def test_there_are_few() -> None:
    assert len(names()) <= MOST


def test_the_page_lists_them() -> None:
    table = re.findall(r"^\| ([\w-]+) \| `([\w/.]+)` \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    rows = {(library, module): set(re.findall(r"`([^`]+)`", listed)) for library, module, listed in table}
    expected: dict[tuple[str, str], set[str]] = {}
    for library, module, path, member in names():
        expected.setdefault((library, module), set()).add(member or path.rpartition(".")[2])
    assert rows == expected


def test_a_library_whose_inside_is_used_has_an_upper_bound() -> None:
    """Another major version may change such a name without a word."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    required = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    for library in {library for library, *_ in INNER}:
        assert any(re.match(rf"{library}(\[\w+\])?>=[\d.]+,<\d", each) for each in required), library
