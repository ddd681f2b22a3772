"""The parent process: it starts and replaces workers as gunicorn does, and ends them in our order.

SIGTERM: the service is not ready any more, and requests are served for SHUTDOWN_DELAY. Then the workers end, within
SHUTDOWN_GRACE (worker.py). A second SIGTERM, SIGINT or SIGQUIT ends the delay. A first SIGQUIT ends all at once.
"""

import logging
import signal

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.errors import HaltServer  # type: ignore[import-untyped] # as above

from service.lifecycle import Lifecycle

log = logging.getLogger(__name__)


class DrainingArbiter(Arbiter):  # type: ignore[misc] # of gunicorn
    """gunicorn's arbiter with a delay before the end."""

    # What gunicorn's main loop calls for a signal: the method "handle_" and this. All other signals are logged and
    # passed over: the settings of a container are fixed for its life, so there is no reload, and no other number of
    # workers.
    SIG_NAMES = {  # noqa: RUF012 -- gunicorn's own is one
        signal.SIGCHLD: "chld",
        signal.SIGQUIT: "sigquit",
        signal.SIGTERM: "sigterm",
        signal.SIGINT: "sigint",
        signal.SIGALRM: "sigalrm",
    }

    def __init__(self, app: object, lifecycle: Lifecycle, delay: float) -> None:
        """``delay`` is SHUTDOWN_DELAY in seconds."""
        self._lifecycle, self._delay = lifecycle, delay
        super().__init__(app)

    def init_signals(self) -> None:
        """gunicorn sets its handlers. SIGALRM would end the process, so it gets one at once, too."""
        super().init_signals()
        signal.signal(signal.SIGALRM, self.signal)

    def handle_sigterm(self) -> None:
        """Begin the delay; the second time, or where there is none, end."""
        if self._lifecycle.draining or not self._delay:
            self.handle_sigint()
        self._lifecycle.drain()
        log.info("draining: not ready, requests are served for another %.1f s", self._delay)
        # gunicorn's main loop goes on meanwhile, and replaces workers that die: requests still arrive.
        signal.setitimer(signal.ITIMER_REAL, self._delay)

    def handle_sigint(self) -> None:
        """End without a delay, or end the delay."""
        log.info("the workers end now" if self._lifecycle.draining else "draining: not ready, and the workers end now")
        self._lifecycle.drain()
        raise StopIteration  # gunicorn's main loop ends, and calls stop()

    def handle_sigalrm(self) -> None:
        """The delay is over, if it was our timer, and not a signal from outside."""
        if not self._lifecycle.draining or signal.getitimer(signal.ITIMER_REAL)[0]:
            log.info("SIGALRM is passed over: no delay is over")
        else:
            self.handle_sigint()

    def handle_sigquit(self) -> None:
        """End at once: requests in flight are cut. In the delay: end the delay."""
        if not self._lifecycle.draining:
            self.stop(graceful=False)
        self.handle_sigint()

    def stop(self, graceful: bool = True) -> None:
        """End the workers, and wait for them."""
        self._lifecycle.end()
        super().stop(graceful)

    def reap_workers(self) -> None:
        """Note which workers have ended. HaltServer where one could not start; not again where the end has begun."""
        while True:
            try:
                super().reap_workers()
            except HaltServer:
                if not self._lifecycle.ending:
                    raise
            else:
                return
