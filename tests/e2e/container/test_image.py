"""What is in the image, and what is not."""

import hashlib
import json
import os
import re
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.container.podman import ROOT, SOURCE, base, build, podman

pytestmark = pytest.mark.timeout(900)

MOST_OVER_BASE = 90_000_000  # bytes
COMPILERS = {"cc", "gcc", "c++", "g++", "cpp", "clang", "as", "ld", "make", "rustc", "go"}
# What Debian has for everybody to write in. The root file system is read-only where it runs.
OPEN_TO_ALL = {"tmp", "var/tmp", "run/lock"}


def entries(folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Everything in an image: its path in there, the path here, and what the file system says."""
    for root, folders, names in os.walk(folder):
        for name in folders + names:
            path = Path(root, name)
            inside = str(path.relative_to(folder))
            if not inside.startswith("dev/"):  # another is mounted over it
                yield inside, path, path.lstat()


def test_its_settings(image: str) -> None:
    [described] = json.loads(podman("image", "inspect", image))
    config = described["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "-m", "service"]
    assert config.get("Cmd") in (None, [])
    assert config["StopSignal"] == "SIGTERM"
    assert config["ExposedPorts"].keys() == {"8080/tcp", "9090/tcp"}
    assert "Healthcheck" not in config
    names = {entry.partition("=")[0] for entry in config["Env"]}
    assert names <= {"PATH", "LANG", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"} | {
        "PYTHONDONTWRITEBYTECODE",
        "VERSION",
        "REVISION",
    }


def labels(image: str) -> dict[str, str]:
    """Its labels, without what all their names begin with."""
    [described] = json.loads(podman("image", "inspect", image))
    return {key.removeprefix("org.opencontainers.image."): value for key, value in described["Labels"].items()}


def test_its_labels(image: str) -> None:
    found = labels(image)
    assert found["licenses"] == "Apache-2.0"
    assert found["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(r"[0-9a-f]{40}(-changed)?", found["revision"])
    assert found["source"] == SOURCE


def test_its_labels_are_of_this_build_though_all_else_comes_from_the_cache(image: str) -> None:
    other = f"{image}-labels"
    build(other, source="https://git.example/fork")
    try:
        command = ["git", "rev-parse", "HEAD"]
        head = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        assert labels(other)["source"] == "https://git.example/fork"
        assert labels(other)["revision"].removesuffix("-changed") == head
    finally:
        podman("image", "rm", other)


@pytest.mark.parametrize(
    ("folder", "copied"),
    [(".", {"requirements.txt", "service"}), ("sidecars/log-agent", {"requirements.txt", "log_agent"})],
)
def test_a_build_is_sent_nothing_but_what_is_copied(tmp_path: Path, folder: str, copied: set[str]) -> None:
    """What .dockerignore lets through, seen by a build that copies all of it."""
    everything = "localhost/seatrial-test:context"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    podman("build", "--quiet", "--tag", everything, "--file", str(tmp_path / "Dockerfile"), str(ROOT / folder))
    try:
        sent = Path(podman("image", "mount", everything))
        names = [name for name, _, _ in entries(sent)]
        assert {name.partition("/")[0] for name in names} == copied
        assert not [name for name in names if "__pycache__" in name]
    finally:
        podman("image", "umount", everything)
        podman("image", "rm", everything)


def test_it_is_small(image: str) -> None:
    over = int(podman("image", "inspect", "--format", "{{.Size}}", image)) - int(
        podman("image", "inspect", "--format", "{{.Size}}", base())
    )
    print(f"{over / 1e6:.0f} MB over the base")
    assert over <= MOST_OVER_BASE


def test_nothing_of_ours_can_be_written_by_anybody_but_root(files: Path) -> None:
    for name, _, info in entries(files):
        if name.startswith("app"):
            assert (info.st_uid, info.st_gid) == (0, 0), name
        if not stat.S_ISLNK(info.st_mode) and info.st_mode & stat.S_IWOTH:
            assert name in OPEN_TO_ALL, name
            assert info.st_mode & stat.S_ISVTX, name
        assert 10001 not in (info.st_uid, info.st_gid), name


def test_everybody_can_read_the_application(files: Path) -> None:
    """The user's number is not known before it runs."""
    for name, _, info in entries(files / "app"):
        wanted = 0o555 if stat.S_ISDIR(info.st_mode) else 0o444
        assert stat.S_ISLNK(info.st_mode) or info.st_mode & wanted == wanted, name


def test_no_program_runs_as_its_owner(files: Path) -> None:
    bits = stat.S_ISUID | stat.S_ISGID
    assert [name for name, _, info in entries(files) if stat.S_ISREG(info.st_mode) and info.st_mode & bits] == []


def test_nothing_is_in_it_that_is_not_needed(files: Path) -> None:
    found = []
    for name, path, _ in entries(files):
        folder, _, last = name.rpartition("/")
        is_program = folder.endswith("bin")
        if is_program and (last in COMPILERS or re.fullmatch(r"pip[0-9.]*|easy_install", last)):
            found.append(name)
        if last in ("pip", "ensurepip", ".git", ".cache", ".pytest_cache", ".venv", "requirements.txt"):
            found.append(name)
        if name.startswith("app/") and (
            last in ("test", "tests", "conftest.py") or path.suffix in (".key", ".pem", ".env")
        ):
            found.append(name)
    # The certificates of the authorities that Google's client trusts are no secret.
    assert [name for name in found if not name.endswith("certifi/cacert.pem")] == []
    assert not any((files / "root").glob(".cache"))
    assert not list((files / "var/lib/apt/lists").glob("*_Packages*"))


def test_no_private_key_is_in_the_application(files: Path) -> None:
    for name, path, info in entries(files / "app"):
        if stat.S_ISREG(info.st_mode) and path.suffix != ".pyc":
            assert not re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{64}", path.read_bytes()), name


def test_byte_code_is_there_and_trusts_its_source(files: Path) -> None:
    """PEP 552: the flags' lowest bits say 'by hash' and 'unchecked'."""
    sources = list((files / "app/service").rglob("*.py"))
    assert len(sources) > 40
    for source in sources:
        [compiled] = (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01, compiled


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything in an image: kind and mode, owner, and what is in it."""
    listed: dict[str, tuple[object, ...]] = {}
    for name, path, info in entries(folder):
        content = ""
        if stat.S_ISLNK(info.st_mode):
            content = str(path.readlink())
        elif stat.S_ISREG(info.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        listed[name] = (oct(info.st_mode), info.st_uid, info.st_gid, content)
    return listed


def test_the_same_commit_gives_the_same_files(image: str, files: Path) -> None:
    again = "localhost/seatrial-test:again"
    build(again, "--no-cache")
    try:
        first, second = tree(files), tree(Path(podman("image", "mount", again)))
        different = {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
        layers = [json.loads(podman("image", "inspect", name))[0]["RootFS"]["Layers"] for name in (image, again)]
        same = sum(a == b for a, b in zip(*layers, strict=True))
        print(f"{len(first)} files, {len(different)} differ; {same} of {len(layers[0])} layers are the same bytes")
        assert different == set()
    finally:
        podman("image", "umount", again)
        podman("image", "rm", again)
