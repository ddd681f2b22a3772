"""scripts/compose.sh with a docker that only notes what it was asked: the secret, the image, profiles and volumes."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the script needs of the project."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/compose.sh", "scripts/image.sh", "Dockerfile", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def run(project: Path, verb: str, **environ: str) -> list[str]:
    """What docker was asked for."""
    docker = project / "docker"
    size = 'case "$*" in "image inspect"*) echo 1000000 ;; esac'
    docker.write_text(f'#!/bin/sh\necho "$*" >>{project}/asked\n{size}\n')
    docker.chmod(0o755)
    path = f"{project}:{os.environ['PATH']}"
    subprocess.run([project / "scripts" / "compose.sh", verb], env={"PATH": path} | environ, check=True)
    asked = (project / "asked").read_text().splitlines()
    (project / "asked").unlink()
    return asked


def test_up_starts_the_image_that_make_image_builds(project: Path) -> None:
    asked = run(project, "up", IMAGE="seatrial:other")
    [build] = [line for line in asked if line.startswith("build ")]
    assert "--tag seatrial:other" in build
    assert "--build-arg VERSION=" in build
    assert asked[-1] == "compose up --detach --wait"
    assert "--build" not in asked[-1].split()


def test_the_password_is_drawn_once_and_lies_in_a_folder_of_ones_own(project: Path) -> None:
    run(project, "up")
    secret = project / "compose" / "secrets" / "SESSION_PASSWORD"
    drawn = secret.read_text()
    assert len(drawn) == 32
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(secret.stat().st_mode) == 0o444
    run(project, "up")
    assert secret.read_text() == drawn


def test_down_ends_every_profile_and_keeps_the_volumes_unless_told(project: Path) -> None:
    assert run(project, "up", PROFILES="grafana memcached")[-1].startswith(
        "compose --profile grafana --profile memcached up"
    )
    assert run(project, "down")[-1] == "compose --profile * down"
    assert run(project, "down", VOLUMES="1")[-1] == "compose --profile * down --volumes"
