"""A clock that only the test moves."""


class Clock:
    """Stands in for the time module, so that nothing is waited for."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now
