"""What gunicorn says, through the one log of the process.

What is no request never reaches the application; worker.py answers it, and says so without what the client sent.
"""

import logging
import sys
from datetime import timedelta

from gunicorn.config import Config  # type: ignore[import-untyped] # no stubs are installed
from gunicorn.glogging import Logger  # type: ignore[import-untyped] # as above

from service.logs.formatter import ALREADY_LOGGED


class GunicornLogger(Logger):  # type: ignore[misc] # as above
    """gunicorn's ``logger_class``: no handlers of its own, no access log (the middleware writes that one)."""

    def setup(self, cfg: Config) -> None:
        """Take everything out that would write anywhere else. Called at start and at every reload."""
        self.cfg = cfg
        self._access_log_enabled = False
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET)  # LOG_LEVEL decides

    def access(self, resp: object, req: object, environ: dict[str, object], request_time: timedelta) -> None:
        """Nothing: a request that reached the application is logged there, one that did not is a warning."""

    def exception(self, msg: object, *args: object, **kwargs: object) -> None:
        """As it is, but not a second time for what the middleware has logged with the request's ids."""
        if not getattr(sys.exc_info()[1], ALREADY_LOGGED, False):
            self.error_log.exception(msg, *args, **kwargs)
