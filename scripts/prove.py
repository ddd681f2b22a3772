"""Show each practice that can be shown on this machine: ``make prove``, ``make prove ROWS=5b``.

Two replicas on a Redis with a password and on an emulator of object storage are asked, stopped, killed, cut off and fed
with hostile requests by the conformance suite. All of it listens on 127.0.0.1 only, and ends with the command. Exit
codes are the suite's.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conformance.scene import can_isolate, scene
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.service import PROJECT


def main() -> int:
    """Start everything, run the suite, end everything. The exit code."""
    if not shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        print("redis-server is missing; run: sudo apt-get install redis-server", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background would ignore it
    print("starting two replicas, Redis and an emulator of object storage …", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="prove-") as name, strict_gcs(Path(name)) as gcs:
        create_bucket(gcs.url, "files")
        with scene(Path(name), gcs.url) as replicas:
            only = ["--only", os.environ["ROWS"]] if os.environ.get("ROWS") else []
            command = [sys.executable, "-m", "conformance", *replicas.options, *only]
            code = subprocess.run(command, cwd=PROJECT, check=False).returncode
    if not can_isolate():
        print("As root, rows 2d, 6a and 6c are shown too: with a user and mounts of their own.", file=sys.stderr)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
