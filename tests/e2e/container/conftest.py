"""The image, built once for all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.container.podman import build, podman

NAME = "localhost/seatrial-test:built"


@pytest.fixture(scope="session")
def image() -> str:
    """Its name."""
    print(build(NAME))
    return NAME


@pytest.fixture(scope="session")
def files(image: str) -> Iterator[Path]:
    """Its file tree, to look at."""
    folder = podman("image", "mount", image)
    yield Path(folder)
    podman("image", "umount", image)
