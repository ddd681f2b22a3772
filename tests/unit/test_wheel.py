"""The wheel: what is in it, and that a fork may leave out a store's client library."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = {"redis": "redis", "memcached": "pymemcache", "gcs": "google.cloud"}
# Nobody listens at port 1, so a store that can be set up can't be reached.
STORES = {
    "redis": {"SESSION_URL": "redis://127.0.0.1:1"},
    "memcached": {"SESSION_URL": "memcached://127.0.0.1:1"},
    "gcs": {"STORAGE_URL": "gs://files", "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1", "STORAGE_RETRY_BUDGET": "0s"},
}
SET_UP, CANT_SERVE, CANT_BE_SET_UP = 0, 1, 3


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Built from the working tree, by the locked build system."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True, timeout=120)
    (made,) = folder.glob("*.whl")
    with zipfile.ZipFile(made) as opened:
        yield opened


@pytest.fixture(scope="module")
def unpacked(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    wheel.extractall(folder)
    return folder


def test_it_holds_the_service_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(["git", "ls-files", "-z", "service"], cwd=ROOT, check=True, capture_output=True, text=True)
    tracked = set(filter(None, listed.stdout.split("\0")))
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == tracked
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_each_store_is_an_extra(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    about = Parser().parsestr(wheel.read(name).decode())
    assert set(about.get_all("Provides-Extra") or []) == {*EXTRAS, "all"}
    assert about["License-Expression"] == "Apache-2.0"


@pytest.mark.parametrize("extra", EXTRAS)
def test_without_a_stores_library_the_others_work(unpacked: Path, tmp_path: Path, extra: str) -> None:
    without = check(unpacked, tmp_path, missing=[extra], **STORES[extra])
    assert without.returncode == CANT_BE_SET_UP, without.stdout
    assert f"seatrial[{extra}]" in without.stdout
    alone = check(unpacked, tmp_path, missing=[other for other in EXTRAS if other != extra], **STORES[extra])
    assert alone.returncode == CANT_SERVE, alone.stdout


def test_without_any_of_them_memory_and_folders_are_there(unpacked: Path, tmp_path: Path) -> None:
    found = check(unpacked, tmp_path, missing=list(EXTRAS))
    assert found.returncode == SET_UP, found.stdout


def check(unpacked: Path, folder: Path, *, missing: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    """``seatrial --check`` of the unpacked wheel, where the libraries of these extras can't be imported."""
    program = "import sys\n"
    program += "".join(f"sys.modules[{EXTRAS[extra]!r}] = None\n" for extra in missing)
    program += "import service.__main__ as main; assert main.__file__.startswith(sys.path[1]); sys.exit(main.main())"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(unpacked), "SESSION_URL": "memory://"}
    environ |= {"STORAGE_URL": f"file://{folder}"} | settings
    return subprocess.run(
        [sys.executable, "-c", program, "--check"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
