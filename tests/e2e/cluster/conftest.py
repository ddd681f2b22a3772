"""The images, built and loaded once; and a copy of the overlay for each module that wants one."""

from collections.abc import Iterator

import pytest

from tests.e2e.cluster.overlay import Copy, Images, build_images, deployed


@pytest.fixture(scope="session")
def images() -> Images:
    return build_images()


@pytest.fixture(scope="module")
def copy(images: Images) -> Iterator[Copy]:
    """The overlay, unbroken."""
    with deployed(images) as ours:
        yield ours
