"""What the agent is told, from the environment. Every error is named at once."""

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from log_agent.formats import FORMATS, Format


class ConfigError(Exception):
    """The configuration can't be used. ``errors`` has a sentence for each thing that is wrong."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass(frozen=True)
class Config:
    """``files``: what to read, as pairs of a glob pattern and how its records look. The first pattern that fits counts.

    ``state``: the checkpoint's file; None keeps none. ``record_seconds``: how long the last record of a file may wait
    for another line of it.
    """

    files: tuple[tuple[str, Format], ...]
    state: Path | None
    host: str
    port: int
    record_seconds: float


HELP = f"""The log agent reads log files and prints their records on stdout, one JSON object a line.

LOG_FILES       FORMAT=PATTERN, more of them separated by spaces: tomcat=/logs/catalina.*.log access=/logs/access*.txt
                formats: {", ".join(FORMATS)}. A pattern is a path from the root with * ? [ ] in its last part.
STATE_FILE      the checkpoint's file, in a folder that can be written, such as /state/checkpoint.json. Without it the
                agent begins anew after each start, and says so.
HOST, PORT      where /metrics and /health are served (0.0.0.0, 9095)
RECORD_SECONDS  how long the last record of a file waits for another line of it (1)
"""


def load(environ: Mapping[str, str]) -> Config:
    """The configuration, checked. Raises ConfigError."""
    errors: list[str] = []
    files = [_file(part, errors) for part in environ.get("LOG_FILES", "").split()]
    if not files and not errors:
        errors.append("LOG_FILES must be set, as in tomcat=/logs/catalina.*.log")
    state = environ.get("STATE_FILE", "")
    if state and not state.startswith("/"):
        errors.append(f"STATE_FILE must be a path from the root, not {state[:80]!r}")
    if any(fnmatch.fnmatchcase(state, file[0]) for file in files if file):
        errors.append("STATE_FILE must not be among LOG_FILES: the agent would read what it writes")
    port = environ.get("PORT", "") or "9095"
    if not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65536):
        errors.append(f"PORT must be a number from 0 to 65535, not {port[:20]!r}")
        port = "0"
    seconds = _seconds(environ.get("RECORD_SECONDS", "") or "1")
    if seconds is None:
        errors.append("RECORD_SECONDS must be a number of seconds from 0 to 60")
    if errors:
        raise ConfigError(errors)
    return Config(
        files=tuple(file for file in files if file),
        state=Path(state) if state else None,
        host=environ.get("HOST", "") or "0.0.0.0",  # noqa: S104 -- a container is reached from outside
        port=int(port),
        record_seconds=seconds or 0.0,
    )


def _file(part: str, errors: list[str]) -> tuple[str, Format] | None:
    name, _, pattern = part.partition("=")
    path = PurePosixPath(pattern)
    if name not in FORMATS:
        errors.append(f"LOG_FILES: {name[:40]!r} is none of the formats {', '.join(FORMATS)}")
    elif not path.is_absolute() or ".." in path.parts:
        errors.append(f"LOG_FILES: {pattern[:80]!r} is not a path from the root")
    elif pattern.endswith("/"):
        errors.append(f"LOG_FILES: {pattern[:80]!r} is a folder; which files of it?")
    elif any(character in str(path.parent) for character in "*?["):
        errors.append(f"LOG_FILES: {pattern[:80]!r} has a wildcard in a folder's name; only the file's may have some")
    else:
        return pattern, FORMATS[name]
    return None


def _seconds(raw: str) -> float | None:
    try:
        value = float(raw)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= 60 else None
