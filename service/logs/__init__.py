"""The log of the process: one handler on the root logger, to standard output, and everything goes through it.

``configure`` may be called before the settings are read, so that errors in them are records too, and again when they
are known. Call it in the parent process: the processes that are forked from it share the lock between lines.
"""

import logging

from service.logs import redaction
from service.logs.capture import install_hooks
from service.logs.formatter import SafeJsonFormatter, TextFormatter
from service.logs.stdout_handler import Count, LineHandler
from service.settings import Settings

__all__ = ["configure", "count_records", "install_hooks"]

_handler: LineHandler | None = None


def configure(settings: Settings | None = None, *, log_format: str = "") -> None:
    """Everything that is logged goes to stdout as ``LOG_FORMAT`` says, from ``LOG_LEVEL`` on.

    Without settings: as ``log_format`` says (JSON unless "text"), from INFO on.
    Other handlers of the root logger are removed.
    """
    global _handler  # noqa: PLW0603 -- one process has one standard output
    if _handler is None:
        _handler = LineHandler()
    formatter: logging.Formatter = SafeJsonFormatter()
    if settings is not None:
        redaction.remember(settings.session_password, settings.session_url)
        formatter = SafeJsonFormatter(project=settings.google_cloud_project, version=settings.version)
        log_format = settings.log_format
    if log_format == "text":
        formatter = TextFormatter()
    _handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [_handler]
    root.setLevel(settings.log_level if settings else logging.INFO)


def count_records(written: Count, dropped: Count) -> None:
    """Call these with a severity and a number for every record of this process, those already written included."""
    if _handler is not None:
        _handler.count(written, dropped)
