"""The parts of the stores that need no server: names in a folder, which store a URL means."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.settings import load
from service.storage import open_store
from service.storage.file import layout

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(TEXT)
def test_every_key_becomes_a_file_name_that_fits(key: str) -> None:
    parents, name = layout.place(key)
    assert len(parents) == key.count("/")
    for part in (*parents, name):
        assert re.fullmatch(r"=?[a-z0-9_-][a-z0-9._-]{0,120}", part)
    assert not any("." in part for part in parents), "a folder must never look like a file"


@given(st.lists(TEXT, unique=True, min_size=2, max_size=30))
def test_different_keys_are_different_files_even_where_case_and_accents_fold(keys: list[str]) -> None:
    places = {"/".join([*parents, name]) for parents, name in map(layout.place, keys)}
    assert len(places) == len(keys)
    assert places == {place.lower() for place in places}
    assert all(place.isascii() for place in places)


@pytest.mark.parametrize(("url", "name"), [("gs://bucket/a/b", "gcs"), ("file:///tmp/with%20space", "file")])
def test_the_url_names_the_store(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    store = open_store(load({"SESSION_URL": "memory://", "STORAGE_URL": url}))
    assert store.name == name
    store.close()


def test_a_folder_costs_nobody_the_import_of_googles_libraries() -> None:
    code = (
        "import sys; from service.settings import load; from service.storage import open_store;"
        "open_store(load({'SESSION_URL': 'memory://', 'STORAGE_URL': 'file:///tmp'}));"
        "print(any(name.startswith(('google.auth', 'google.cloud', 'urllib3')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout == b"False\n"
