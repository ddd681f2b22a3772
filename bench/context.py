"""What every row is given: a folder, and somebody to tell how far it is."""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.figures import ROUNDS
from bench.load import ROOM, LoadFailed, generator_rate


@dataclass
class Context:
    """One run. ``generator``: requests a second that wrk can do here; 0 until it was asked for."""

    folder: Path
    rounds: int = ROUNDS
    generator: float = 0.0

    def say(self, sentence: str) -> None:
        """Progress, for a person who waits."""
        print(f"  {sentence}", file=sys.stderr, flush=True)

    def check_generator(self, rate: float) -> None:
        """LoadFailed where ``rate`` is so high that wrk may be what was measured."""
        if not self.generator:
            self.generator = generator_rate(self.folder)
        if rate * ROOM > self.generator:
            raise LoadFailed(f"{rate:.0f} requests/s is too near to what wrk can do here, {self.generator:.0f}")
