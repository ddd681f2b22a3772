"""``python -m bench [ROW …]``: measure, and print the table. Progress goes to stderr.

``--folder`` takes ``bench.json`` and ``bench.svg`` (.cache/bench-results unless given). Exit codes: 0 measured,
whatever came out, 1 a row could not be measured, 2 there is no such row or a program is missing, 130 ended by Ctrl-C.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, plot, report
from bench.context import Context
from bench.figures import ROUNDS, Figure
from bench.load import LoadFailed
from bench.rows import ROWS

PROGRAMS = ("wrk", "redis-server", "memcached", "nginx", "cat")
FOLDER = Path(".cache/bench-results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that are named, or all. The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What the practices cost.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all unless given")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where bench.json and bench.svg go")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"{ROUNDS} unless given; with less there is no verdict"
    )
    options = parser.parse_args(arguments)
    if error := _error(options.rows):
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background would ignore it
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    code = 0
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        context = Context(Path(folder), options.rounds)
        try:
            for name in options.rows or ROWS:
                _measure(name, context, figures, failures)
        except KeyboardInterrupt:
            print("\nended by Ctrl-C; what was measured:", file=sys.stderr)
            code = 130
    print(report.table(figures))
    for name, reason in failures.items():
        print(f"{name}: not measured: {reason}")
    if code == 0:
        _write(options.folder, figures, failures)
    return code or (1 if failures else 0)


def _error(rows: Sequence[str]) -> str:
    """What is wrong before anything is begun; "" where nothing is."""
    if unknown := [row for row in rows if row not in ROWS]:
        return f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=path)]:
        return f"missing: {' '.join(missing)}; 'make bench' installs them as root, else use apt-get install"
    try:
        machine.cores()
    except RuntimeError as error:
        return str(error)
    return ""


def _measure(name: str, context: Context, figures: list[Figure], failures: dict[str, str]) -> None:
    began = time.monotonic()
    print(f"{name} …", file=sys.stderr, flush=True)
    try:
        figures.extend(ROWS[name](context))
    except (LoadFailed, RuntimeError, OSError, subprocess.SubprocessError) as error:
        failures[name] = f"{type(error).__name__}: {error}"
        print(f"  failed: {error}", file=sys.stderr, flush=True)
    print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _write(folder: Path, figures: Sequence[Figure], failures: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(report.document(figures, failures), encoding="utf-8")
    facts = machine.description()
    about = f"{facts['processor']}, {facts['cores']} cores, {datetime.now(UTC):%Y-%m-%d}"
    (folder / "bench.svg").write_text(plot.svg(figures, about=about), encoding="utf-8")
    print(f"written: {folder}/bench.json, {folder}/bench.svg", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
