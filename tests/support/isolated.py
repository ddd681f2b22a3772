"""Run a command as a container would, without an image: its own mounts, read-only, as a user without privileges.

Used as root: ``unshare --mount --propagation private python -m tests.support.isolated [options] -- command…``.
The folders that the command needs are reachable for that user, even where they lie in somebody's home.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.support.service import PROJECT

VIRTUAL = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "tmpfs", "devtmpfs"}
NUMBER = "10001"


def main() -> None:
    """Never returns: becomes the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", default=NUMBER)
    parser.add_argument("--writable", action="store_true", help="leave the mounts as they are")
    parser.add_argument("--capability", default="", help="the one that is kept: net_bind_service")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    _open_the_way({Path(sys.base_prefix), Path(sys.prefix), PROJECT})
    if not options.writable:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            head, _, tail = line.partition(" - ")
            if tail.split()[0] not in VIRTUAL:
                _make_read_only(head.split()[4].replace("\\040", " "))
    kept = f",+{options.capability}" if options.capability else ""
    command = ["setpriv", "--reuid", options.user, "--regid", options.user, "--clear-groups", "--no-new-privs"]
    command += [f"--inh-caps=-all{kept}", f"--ambient-caps=-all{kept}", f"--bounding-set=-all{kept}", "--"]
    os.chdir(PROJECT)
    os.execvp(command[0], command + options.command)


def _make_read_only(point: str) -> None:
    done = subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode and os.path.ismount(point):  # else it was another container's, and has gone meanwhile
        raise RuntimeError(f"{point} can't be made read-only: {done.stderr}")


def _open_the_way(wanted: set[Path]) -> None:
    """Where a folder above is closed to others, an empty one takes its place here, with what is wanted in it."""
    held = {path: os.open(path, os.O_PATH) for path in sorted(wanted)}
    closed = {path: _first_closed(path) for path in held}
    for folder in sorted({folder for folder in closed.values() if folder is not None}):
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder))
    for path, descriptor in held.items():
        if closed[path] is not None:
            path.mkdir(parents=True, exist_ok=True)
            _mount("--no-canonicalize", "--bind", f"/proc/self/fd/{descriptor}", str(path), keep=(descriptor,))
        os.close(descriptor)


def _first_closed(path: Path) -> Path | None:
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)


def _mount(*arguments: str, keep: tuple[int, ...] = ()) -> None:
    subprocess.run(["mount", *arguments], check=True, pass_fds=keep)


if __name__ == "__main__":
    main()
