"""Fixtures of the service with the sample: a test that takes ``stack`` runs on every pair of stores."""

from collections.abc import Iterator

import pytest

from tests.support.product import running_product_stack
from tests.support.stacks import NAMES, Stack


@pytest.fixture(scope="module", params=NAMES)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The service as it comes."""
    with running_product_stack(request.param) as running:
        yield running


@pytest.fixture(scope="module", params=("memory", "redis"))
def small(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The service with small limits."""
    limits = {"MAX_UPLOAD_BYTES": "1000000", "MAX_FILES": "10", "MAX_TOTAL_BYTES": "2000000", "THREADS": "16"}
    with running_product_stack(request.param, **limits) as running:
        yield running
