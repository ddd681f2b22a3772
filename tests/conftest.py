"""What every test run prints at its end: what its tests measured, wherever they ran.

pytest keeps to itself what a test that passes prints.
"""

import pytest

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
