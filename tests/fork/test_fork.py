"""A fork has its own name everywhere, is linted, passes its tests, runs, and is the same when it is made again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.name import NAME as OLD
from tests.support.http import Visitor
from tests.support.service import PROJECT, running_service

# A hyphen; nine letters; a short one. With all there is; without the sample; without the benchmark.
FORKS = {
    "parcel-box": ["--title", "Parcel Box", "--owner", "@example/team"],
    "ninefolds": ["--sample", "no"],
    "tad": ["--bench", "no"],
}
QUICK_TESTS = [
    "tests/unit",
    "tests/manifests/test_rules.py",
    "tests/manifests/test_sources.py",
    "tests/server/test_start.py",
]

pytestmark = pytest.mark.timeout(600)


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command, with all that it said where it fails."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=own, check=False)


def succeeds(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project as it is in the working tree, committed."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    succeeds("git", "init", "--quiet", cwd=folder)
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    succeeds("git", "add", "--all", cwd=folder)
    succeeds(
        "git",
        "-c",
        "user.name=A Test",
        "-c",
        "user.email=test@example.com",
        "commit",
        "--quiet",
        "-m",
        "All",
        cwd=folder,
    )


def fork(source: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "scripts.fork", *options, cwd=source)


@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in FORKS])
def made(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fork of this name."""
    name: str = request.param
    into = tmp_path_factory.mktemp("forks") / name
    done = fork(source, "--name", name, "--into", into, *FORKS[name])
    assert done.returncode == 0, done.stderr
    assert "make run" in done.stdout
    return into


def test_the_old_name_is_nowhere(made: Path) -> None:
    left = run("grep", "-rniI", OLD, ".", "--exclude-dir=.git", cwd=made).stdout
    assert not left, left[:2000]
    assert not [path for path in made.rglob("*") if OLD in str(path.relative_to(made)).lower()]


def test_it_is_linted(made: Path) -> None:
    python = (sys.executable, "-m")
    succeeds(*python, "ruff", "check", "--no-cache", cwd=made)
    succeeds(*python, "ruff", "format", "--check", "--no-cache", cwd=made)
    succeeds(*python, "mypy", "--cache-dir", str(made.parents[1] / "mypy"), cwd=made)
    for module in ("scripts.settings_page", "scripts.rules"):
        succeeds(*python, module, "--check", cwd=made)


def test_its_tests_pass(made: Path) -> None:
    succeeds(sys.executable, "-m", "pytest", "-q", "-n", "2", *QUICK_TESTS, cwd=made)


def test_made_again_it_is_the_same(made: Path) -> None:
    before = succeeds("git", "diff", "--stat", cwd=made)
    options = FORKS[made.name]
    succeeds(sys.executable, "-m", "scripts.fork", "--here", "--name", made.name, *options, cwd=made)
    assert succeeds("git", "diff", "--stat", cwd=made) == before


def test_the_route_of_the_page_on_forks_works(source: Path, tmp_path: Path) -> None:
    """docs/fork.md as its reader does it: a feature of one's own in a fork without the sample."""
    into = tmp_path / "parcel-box"
    assert fork(source, "--name", "parcel-box", "--into", into, "--sample", "no").returncode == 0
    feature, line = re.findall(r"```python\n(.*?)```", (into / "docs/fork.md").read_text(), re.DOTALL)
    (into / "service/parcels").mkdir()
    (into / "service/parcels/__init__.py").write_text(feature)
    package = into / "service/__init__.py"
    text = package.read_text()
    assert "FEATURES: tuple[str, ...] = ()\n" in text
    package.write_text(text.replace("FEATURES: tuple[str, ...] = ()\n", line))
    succeeds(sys.executable, "-m", "ruff", "check", "--no-cache", "service", cwd=into)
    succeeds(sys.executable, "-m", "mypy", "service", "--cache-dir", str(tmp_path / "mypy"), cwd=into)
    with running_service(tmp_path, module="service", project=into) as service, Visitor(service.app_url) as visitor:
        assert visitor.get("/api/parcel").status == 404
        assert visitor.ask("PUT", "/api/parcel", to="Ada").json == {"parcel": {"to": "Ada"}}
        assert visitor.get("/api/parcel").json == {"parcel": {"to": "Ada"}}
        assert "/api/parcel" in json.loads(visitor.get("/openapi.json").body)["paths"]
        with Visitor(service.ops_url) as platform:
            assert b"parcel_looks_total 1.0" in platform.get("/metrics").body


@pytest.mark.parametrize("sample", ["true", "false"])
def test_a_later_change_comes_into_a_fork_that_was_edited(source: Path, tmp_path: Path, sample: str) -> None:
    """With copier: the fork's own edits stay, what it has deleted stays away, and the change has the fork's name."""
    copier = (PROJECT / os.environ.get("COPIER", ".cache/fork/bin/copier")).absolute()
    assert copier.exists(), "make test-fork installs it"
    template, into = tmp_path / "template", tmp_path / "parcel-box"
    succeeds("git", "clone", "--quiet", source, template, cwd=tmp_path)
    succeeds("git", "tag", "v1", cwd=template)
    answers = ("--data", "name=parcel-box", "--data", f"sample={sample}")
    succeeds(
        copier, "copy", "--trust", "--defaults", "--quiet", "--vcs-ref", "v1", *answers, template, into, cwd=tmp_path
    )
    succeeds("git", "init", "--quiet", cwd=into)
    commit(into)
    edit(into / "README.md", "Say here in a few sentences what this service is for.", "It keeps parcels.")
    edit(into / "docs/runbooks/slow.md", "# ParcelBoxSlow", "# ParcelBoxSlow, for us")
    (into / "docs/compose.md").unlink()
    commit(into)
    edit(template / "k8s/base/priority-class.yaml", "before work that can wait", "before all that can wait")
    edit(template / "docs/runbooks/slow.md", "**Over**", f"Look at {OLD} too.\n\n**Over**")
    edit(template / "docs/compose.md", "# ", "# New: ")
    commit(template)
    succeeds("git", "tag", "v2", cwd=template)
    succeeds(copier, "update", "--trust", "--defaults", "--quiet", "--vcs-ref", "v2", cwd=into)
    changed = succeeds("git", "diff", "--name-only", cwd=into).split()
    assert changed == [".copier-answers.yml", "docs/runbooks/slow.md", "k8s/base/priority-class.yaml"]
    assert not succeeds("git", "ls-files", "--others", "--unmerged", "--exclude-standard", cwd=into)
    assert "Parcel Box and its stores, before all" in (into / "k8s/base/priority-class.yaml").read_text()
    page = (into / "docs/runbooks/slow.md").read_text()
    assert page.startswith("# ParcelBoxSlow, for us\n")
    assert "Look at parcel-box too." in page
    assert "It keeps parcels." in (into / "README.md").read_text()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, path
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--name", "Parcel"), "NAME must be"),
        (("--name", "a"), "NAME must be"),
        (("--name", "session"), "is a word of the code"),
        (("--title", 'A "box"'), "TITLE must be"),
        (("--owner", "somebody"), "OWNER must be"),
        (("--sample", "perhaps"), "SAMPLE must be"),
        (("--into", ""), "INTO must name"),
    ],
)
def test_a_wrong_answer_is_refused_before_anything_is_done(
    source: Path, tmp_path: Path, options: tuple[str, str], says: str
) -> None:
    into = tmp_path / "fork"
    done = fork(source, "--name", "parcel-box", "--into", into, *options)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert not into.exists()


def test_a_folder_with_something_in_it_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    done = fork(source, "--name", "parcel-box", "--into", tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_changes_that_are_not_committed_are_refused(source: Path, tmp_path: Path) -> None:
    changed = tmp_path / "source"
    shutil.copytree(source, changed)
    (changed / "README.md").write_text("changed")
    done = fork(changed, "--name", "parcel-box", "--into", tmp_path / "fork")
    assert done.returncode == 2
    assert "not committed" in done.stderr
