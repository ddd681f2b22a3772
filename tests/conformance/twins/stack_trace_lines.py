"""Breaks 1a: a record is JSON, but its stack trace comes after it, as Python prints it."""

import logging
import traceback

from service.logs.formatter import SafeJsonFormatter
from tests.conformance.twins.ours import start

safe = SafeJsonFormatter.format


def with_stack_below(self: SafeJsonFormatter, record: logging.LogRecord) -> str:
    found, record.exc_info = record.exc_info, None
    line = safe(self, record)
    return line + "\n" + "".join(traceback.format_exception(found[1])) if found else line


if __name__ == "__main__":
    SafeJsonFormatter.format = with_stack_below  # type: ignore[method-assign] # that is the break
    start()
