"""Start the agent: read until SIGTERM, then read everything to its end, and exit 0."""

import signal

# Before all else: they are asked for between two turns, interrupt nothing, and are not lost while this starts.
ENDS = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)

import contextlib  # noqa: E402 -- see above
import os  # noqa: E402 -- see above
import resource  # noqa: E402 -- see above
import sys  # noqa: E402 -- see above
import time  # noqa: E402 -- see above

from log_agent import config, output  # noqa: E402 -- see above
from log_agent.agent import Agent  # noqa: E402 -- see above
from log_agent.metrics import Metrics, serve  # noqa: E402 -- see above

SHORTEST, LONGEST = 0.05, 0.5  # seconds between two turns: while there is something, and after a while of nothing


def main() -> int:
    """The exit code: 0 after a signal, 1 where nobody reads stdout any more, 2 where the configuration is wrong."""
    if sys.argv[1:]:
        output.write(config.HELP.encode())
        return 0 if sys.argv[1:] in (["--help"], ["-h"]) else 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536) if most > 0 else 65536, most))
    try:
        settings = config.load(os.environ)
        metrics = Metrics()
        server = serve(metrics, settings.host, settings.port)
    except config.ConfigError as error:
        for line in error.errors:
            output.write(output.say("CRITICAL", line))
        return 2
    except (OSError, UnicodeError) as error:  # the second, where the name can't be one
        why = getattr(error, "strerror", None) or error
        output.write(output.say("CRITICAL", f"can't listen on {settings.host[:80]} port {settings.port}: {why}"))
        return 2
    output.write(output.say("INFO", f"reading; metrics on port {server.server_port}"))
    try:
        agent = Agent(settings, metrics)
        wait = SHORTEST
        # Not sigtimedwait: frozen and woken again, Python's returns without a signal as if there was one.
        while not signal.sigpending() & ENDS:
            wait = SHORTEST if agent.turn() else min(LONGEST, wait * 1.5)
            time.sleep(wait)
        agent.finish()
    except BrokenPipeError:
        with contextlib.suppress(NameError):
            agent.save()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
