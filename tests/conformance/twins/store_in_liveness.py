"""Breaks 5a: liveness fails where the session store is down."""

from service.ops.health import Health
from tests.conformance.twins.ours import start


def live(self: Health) -> tuple[int, bytes]:
    up = self._dependencies["sessions"].up
    return (503, self._body("fail")) if up is False else (200, self._body("pass"))


if __name__ == "__main__":
    Health.live = live  # type: ignore[method-assign] # that is the break
    start()
