"""What the kernel says of the service's processes, from /proc here or through a command in the container."""

import json
import os
import shlex
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.check import NotRun
from conformance.target import CommandFailed, Instance, Target

# Kinds of file systems that hold nothing that lasts, or nothing at all.
VIRTUAL = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "fusectl",
    "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "ramfs", "securityfs", "sysfs", "tmpfs", "tracefs",
})  # fmt: skip
MOST_FOLDERS = 20_000
PLACES = (
    "/",
    "/app",
    "/bin",
    "/etc",
    "/home",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/usr/local/bin",
    "/var/lib",
    "/var/tmp",
)


@dataclass(frozen=True)
class Process:
    """A line of /proc/PID/status by its name."""

    status: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.status.get('Name', '?')} ({self.status.get('Pid', '?')})"

    def numbers(self, name: str) -> list[int]:
        """Decimal fields, such as Uid: real, effective, saved, of files."""
        return [int(word) for word in self.status.get(name, "").split()]

    def mask(self, name: str) -> int:
        """A hexadecimal field, such as CapEff."""
        return int(self.status.get(name) or "0", 16)


@dataclass(frozen=True)
class Mount:
    """A mount point as the process sees it."""

    point: str
    kind: str
    is_read_only: bool


def processes(target: Target, instance: Instance) -> list[Process]:
    """The service's processes: the one that was named, and those that it began."""
    if not _has_pid(target, instance):
        text = _inside(target, instance, "cat /proc/[0-9]*/status 2>/dev/null; true")  # one may end meanwhile
        inside = [Process(_fields(part)) for part in text.split("Name:") if part.strip()]
        if not inside:
            raise NotRun("--exec-command showed no process")
        return inside
    first = target.pid(instance)
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(_fields((folder / "status").read_text()).get("PPid", "0"))
        except (OSError, ValueError):
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    family, found = deque([first]), []
    while family:
        pid = family.popleft()
        family.extend(parents.get(pid, ()))
        try:
            found.append(Process(_fields(Path(f"/proc/{pid}/status").read_text())))
        except OSError:
            continue  # it ended meanwhile
    if not found:
        raise NotRun(f"process {first} is not on this machine")
    return found


def mounts(target: Target, instance: Instance) -> list[Mount]:
    """What is mounted where; where several lie above one another, the uppermost."""
    if _has_pid(target, instance):
        try:
            text = Path(f"/proc/{target.pid(instance)}/mountinfo").read_text()
        except OSError as error:
            raise NotRun(f"{error.filename} can't be read: {error.strerror}") from None
    else:
        text = _inside(target, instance, "cat /proc/self/mountinfo")
    found = {}
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        point, options = head.split()[4:6]
        kind, _, above = tail.split(maxsplit=2)
        is_read_only = "ro" in options.split(",") or "ro" in above.split(",")
        found[point] = Mount(point.replace("\\040", " "), kind, is_read_only)
    return list(found.values())


def writable_folders(target: Target, instance: Instance, lasting: list[Mount]) -> list[str]:
    """Folders of these mounts that the service itself may write to."""
    starts = [mount.point for mount in lasting if not mount.is_read_only]
    if not _has_pid(target, instance):
        places = " ".join(shlex.quote(place) for place in sorted({*starts, *PLACES}))
        probe = '"$d/.practice-probe"'
        script = f"for d in {places}; do ( : > {probe} ) 2>/dev/null && rm -f {probe} && echo $d; done; true"
        allowed = {mount.point for mount in mounts(target, instance)} - {mount.point for mount in lasting}
        return [line for line in _inside(target, instance, script).split() if line not in allowed]
    if not starts:
        return []
    process = processes(target, instance)[-1]
    borders = {mount.point for mount in mounts(target, instance)}
    return _as_user(process, f"/proc/{target.pid(instance)}/root", starts, borders)


def command_lines(target: Target, instance: Instance) -> str:
    """The arguments that the service was started with."""
    if not _has_pid(target, instance):
        return _inside(target, instance, "cat /proc/[0-9]*/cmdline")
    try:
        return Path(f"/proc/{target.pid(instance)}/cmdline").read_text(errors="replace")
    except OSError as error:
        raise NotRun(f"{error.filename} can't be read: {error.strerror}") from None


def listening_ports(target: Target, instance: Instance) -> set[int]:
    """The TCP ports that the service's processes listen on."""
    if not _has_pid(target, instance):
        links = _inside(target, instance, "readlink /proc/[0-9]*/fd/* || true")
        return _listening(
            _inside(target, instance, "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true"), set(links.split())
        )
    first = target.pid(instance)
    try:
        sockets = {
            str(link.readlink())
            for process in processes(target, instance)
            for link in Path(f"/proc/{process.status['Pid']}/fd").iterdir()
            if link.is_symlink()
        }
    except OSError as error:
        raise NotRun(
            f"{error.filename} can't be read: {error.strerror}; run it as the service's user or root"
        ) from None
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{first}/net/{table}")
        found |= _listening(path.read_text() if path.exists() else "", sockets)
    return found


def _listening(table: str, sockets: set[str]) -> set[int]:
    """The local ports of /proc/net/tcp that these sockets listen on."""
    found = set()
    for fields in map(str.split, table.splitlines()):
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:  # 0A: LISTEN; the heading has another word there
            found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def _as_user(process: Process, root: str, starts: list[str], borders: set[str]) -> list[str]:
    """Look in a child process that has taken the service's user; the kernel decides, for us as for the service."""
    try:
        descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise NotRun(f"{root} can't be opened: {error.strerror}; run it as root or as the service's user") from None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _take_user(process)
            found = list(_walk(descriptor, starts, borders))
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(json.dumps(found[:1000]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.close(descriptor)
    with os.fdopen(reader, "rb") as pipe:
        raw = pipe.read()
    os.waitpid(child, 0)
    if not raw:
        raise NotRun("this user may not act as the service's user; run it as root")
    return [str(folder) for folder in json.loads(raw)]


def _take_user(process: Process) -> None:
    uid, gid = process.numbers("Uid")[1], process.numbers("Gid")[1]
    if os.geteuid() == 0:
        os.setgroups(process.numbers("Groups"))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif (uid, gid) != (os.geteuid(), os.getegid()):
        os._exit(1)


def _walk(root: int, starts: list[str], borders: set[str]) -> Iterator[str]:
    """Folders that may be written to, those near the top first."""
    waiting = deque(starts)
    for _ in range(MOST_FOLDERS):
        if not waiting:
            return
        folder = waiting.popleft()
        relative = folder.lstrip("/") or "."
        if os.access(relative, os.W_OK | os.X_OK, dir_fd=root, effective_ids=True):
            yield folder
        try:
            descriptor = os.open(relative, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
        except OSError:
            continue  # a file, or closed to the service
        try:
            with os.scandir(descriptor) as entries:
                below = [f"{folder.rstrip('/')}/{e.name}" for e in entries if e.is_dir(follow_symlinks=False)]
        finally:
            os.close(descriptor)
        waiting.extend(sorted(path for path in below if path not in borders))


def _has_pid(target: Target, instance: Instance) -> bool:
    return bool(instance.pid or target.commands.pid)


def _inside(target: Target, instance: Instance, script: str) -> str:
    command = f"{target.commands.inside} sh -c {shlex.quote(script)}"
    try:
        return target.run(command, instance).decode("utf-8", "replace")
    except CommandFailed as error:
        raise NotRun(f"--exec-command failed: {error}") from None


def _fields(status: str) -> dict[str, str]:
    status = status if status.startswith("Name:") else f"Name:{status}"
    pairs = (line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}
