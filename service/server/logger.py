"""gunicorn's log records, through the one log of the process."""

import logging
import sys

from gunicorn.config import Config  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.glogging import Logger  # type: ignore[import-untyped] # as above

from service.logs.formatter import ALREADY_LOGGED

log = logging.getLogger("gunicorn.error")


class GunicornLogger(Logger):  # type: ignore[misc] # as above
    """gunicorn's ``logger_class``, without handlers of its own, and without an access log: the middleware has one."""

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        log.handlers.clear()
        log.propagate = True
        log.setLevel(logging.NOTSET)  # LOG_LEVEL decides
        # Called directly, so that a record names gunicorn's source line and not the one in gunicorn's logger.
        self.critical, self.error, self.warning = log.critical, log.error, log.warning
        self.info, self.debug = log.info, log.debug

    def exception(self, msg: object, *args: object) -> None:
        """Log the exception, unless the middleware has logged it with the request's ids."""
        error = sys.exc_info()[1]
        if not getattr(error, ALREADY_LOGGED, False):
            log.error(msg, *args, exc_info=error, stacklevel=2)
