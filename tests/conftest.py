"""Fixtures of the whole service, and what every test run prints at its end.

A test that takes ``stack`` runs on every pair of stores. What a test measured is told at the end, wherever it ran:
pytest keeps to itself what a test that passes prints.
"""

from collections.abc import Iterator

import pytest

from tests.support.stacks import NAMES, Stack, running_stack

FIGURE = "figure"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every ``record_property(FIGURE, text)`` of a test, in a section of their own."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    figures = [
        f"{report.nodeid.rpartition('::')[2]}: {text}"
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, text in report.user_properties
        if name == FIGURE
    ]
    if figures:
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.line(figure)


@pytest.fixture(scope="module", params=NAMES)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The service as it comes."""
    with running_stack(request.param) as running:
        yield running


@pytest.fixture(scope="module", params=("memory", "redis"))
def small(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The service with small limits."""
    limits = {"MAX_UPLOAD_BYTES": "1000000", "MAX_FILES": "10", "MAX_TOTAL_BYTES": "2000000", "THREADS": "16"}
    with running_stack(request.param, **limits) as running:
        yield running
