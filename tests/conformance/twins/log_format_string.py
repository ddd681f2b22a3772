"""Breaks 1a: the line is put together by a format string that looks like JSON."""

import logging

from service.logs.formatter import SafeJsonFormatter
from tests.conformance.twins.ours import start

looks_like_json = logging.Formatter('{"severity": "%(levelname)s", "time": "%(asctime)s", "message": "%(message)s"}')


def format_string(self: SafeJsonFormatter, record: logging.LogRecord) -> str:
    record.exc_info = None  # stacks are another twin's
    return looks_like_json.format(record)


if __name__ == "__main__":
    SafeJsonFormatter.format = format_string  # type: ignore[method-assign] # that is the break
    start()
