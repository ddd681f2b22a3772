"""scripts/image.sh with engines that only note what they were asked: what it chooses, what it passes on, what it says.

With a real engine it is run by tests/e2e/container.
"""

import os
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCE = "https://github.com/a/b"

AWAY = "exit 1"
# As docker with BuildKit: a base that was built on is no image of the engine's until it is pulled.
DOCKER = """
case "$*" in
  pull*) touch "$0.pulled" ;;
  "image inspect"*seatrial:dev) echo 150000000 ;;
  "image inspect"*) [ -e "$0.pulled" ] && echo 120000000 ;;
esac
"""
OFFLINE = DOCKER.replace('touch "$0.pulled"', "exit 1")
PODMAN = 'case "$*" in "image inspect"*) echo 150000000 ;; esac'


def run(folder: Path, engines: dict[str, str], **environ: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The script with these engines and no others. What came of it, and the arguments of its build."""
    for name in ("docker", "podman", "buildah"):
        engine = folder / name
        engine.write_text(f'#!/bin/sh\necho "$*" >>{folder}/asked\n{engines.get(name, AWAY)}\n')
        engine.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    command = [PROJECT / "scripts" / "image.sh"]
    done = subprocess.run(command, env={"PATH": path} | environ, capture_output=True, text=True, check=False)
    asked = (folder / "asked").read_text().splitlines()
    (folder / "asked").unlink()
    return done, next((line.split() for line in asked if line.startswith("build ")), [])


def origin(url: str) -> dict[str, str]:
    """Git's variables for a clone of this address."""
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "remote.origin.url", "GIT_CONFIG_VALUE_0": url}


def test_docker_without_its_engine_leaves_it_to_podman(tmp_path: Path) -> None:
    done, build = run(tmp_path, {"docker": AWAY, "podman": PODMAN})
    assert done.returncode == 0, done.stderr
    assert "--timestamp" in build  # docker has no such option


def test_without_any_engine_it_says_what_to_install(tmp_path: Path) -> None:
    done, build = run(tmp_path, {})
    assert (done.returncode, build) == (1, [])
    assert "apt-get install podman" in done.stderr


def test_docker_says_the_size_over_a_base_that_it_has_not_pulled(tmp_path: Path) -> None:
    done, build = run(tmp_path, {"docker": DOCKER})
    assert done.returncode == 0, done.stderr
    assert "--timestamp" not in build
    assert done.stdout == "seatrial:dev: 150 MB, of which 30 MB over its base\n"


def test_an_image_that_was_built_is_not_a_failure_where_its_base_can_not_be_measured(tmp_path: Path) -> None:
    done, _ = run(tmp_path, {"docker": OFFLINE})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "seatrial:dev: 150 MB; its base could not be measured\n"


@pytest.mark.parametrize(
    "url",
    [
        f"{SOURCE}.git",
        "git@github.com:a/b.git",
        "ssh://git@github.com/a/b",
        "https://ada:a-token@github.com/a/b.git",
        "https://a-token@github.com/a/b",
    ],
)
def test_the_source_is_where_the_clone_came_from_without_its_secrets(tmp_path: Path, url: str) -> None:
    _, build = run(tmp_path, {"podman": PODMAN}, **origin(url))
    assert f"SOURCE={SOURCE}" in build


def test_a_clone_of_a_folder_has_no_source(tmp_path: Path) -> None:
    _, build = run(tmp_path, {"podman": PODMAN}, **origin("/srv/git/b"))
    assert not [argument for argument in build if argument.startswith("SOURCE=")]
    _, build = run(tmp_path, {"podman": PODMAN}, **origin("/srv/git/b"), SOURCE=SOURCE)
    assert f"SOURCE={SOURCE}" in build
