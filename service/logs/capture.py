"""What Python reports by itself, as log records: uncaught exceptions, warnings, ``print``, and writes to stderr."""

import atexit
import logging
import sys
import threading
from types import TracebackType

from service.logs.json_safe import describe
from service.logs.streams import LogStream

log = logging.getLogger("service.python")


def install_hooks() -> None:
    """From now on everything that Python prints is a record. Call it once.

    Lines on stderr are WARNING: libraries put notes there as often as errors, and an error comes with its own record.
    """
    logging.raiseExceptions = False  # or a handler prints its own errors between the lines
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    for name, level, descriptor in (("stdout", logging.INFO, 1), ("stderr", logging.WARNING, 2)):
        if not isinstance(getattr(sys, name), LogStream):
            stream = LogStream(name, level, descriptor)
            setattr(sys, name, stream)
            atexit.register(stream.close)


def _uncaught(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        log.warning("interrupted")
    else:
        log.critical("uncaught exception", exc_info=(kind, error, stack))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit) or args.exc_value is None:
        return
    name = args.thread.name if args.thread is not None else "?"
    log.error(
        "uncaught exception in thread %s", describe(name), exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    what = args.err_msg or "exception ignored in"
    # The object is named by its type only: it may be half destroyed.
    message = f"{what}: {type(args.object).__qualname__}"
    if args.exc_value is not None:
        log.error("%s", message, exc_info=(args.exc_type, args.exc_value, args.exc_traceback))
    else:
        log.error("%s: %s", message, args.exc_type.__name__)
