"""The broken twin of the log agent: it follows the path, as a simple ``tail -F`` does, and knows no file."""

import os
import sys
import time
from collections.abc import Callable

from log_agent import output
from log_agent.config import Config, load
from log_agent.records import Record


class PathOnly:
    """Has the agent's methods that a ledger calls. It keeps a place for each path, and begins anew where it shrinks."""

    def __init__(self, config: Config, write: Callable[[bytes], None]) -> None:
        self._config, self._write = config, write
        self._places: dict[str, int] = {}

    def turn(self) -> bool:
        """Read what is new under the names that there are. Whether there was anything."""
        changed = False
        for path, form in self._config.files:
            try:
                with open(path, "rb") as file:  # noqa: PTH123 -- a string, as in the agent
                    place = self._places.get(path, 0)
                    if file.seek(0, 2) < place:
                        place = 0
                    file.seek(place)
                    content = file.read()
            except FileNotFoundError:
                continue
            for line in content.splitlines(keepends=True):
                record = Record(place, place + len(line), 1, line.rstrip())
                encoded, _, _ = output.encode(record, form, path=path, insert_id=f"{path}-{place}")
                self._write(encoded)
                place += len(line)
                changed = True
            self._places[path] = place
        return changed

    def save(self) -> None:
        """It remembers nothing."""

    def finish(self) -> None:
        """Read what there is."""
        self.turn()

    def close(self) -> None:
        """It holds nothing."""


def main() -> None:
    """Run as the agent is, by LOG_FILES, until SIGTERM ends the process."""
    config = load(os.environ)

    def write(line: bytes) -> None:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    twin = PathOnly(config, write)
    while True:
        twin.turn()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
