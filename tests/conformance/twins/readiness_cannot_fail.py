"""Breaks 5b: readiness says yes as long as anybody answers."""

from service.ops.health import Health
from tests.conformance.twins.ours import start

if __name__ == "__main__":
    Health.ready = lambda self, *, full: (200, self._body("pass"))  # type: ignore[method-assign] # noqa: ARG005 -- as the real one
    start()
