"""Run inside of a container, by its own Python: what somebody with a shell there would try. Nothing is harmed by it.

inside.py NAMESPACE [TRY…] leaves out the tries that are named. Prints a JSON object: for each try what came of it, or
null and why it failed. What the kernel would have let happen counts as success: calls are made so that they do nothing.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import ssl
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
MEMORY = Path("/dev/shm")  # the one place where something may be written for a moment
KEPT = {"/proc", "/sys", "/dev", "/host"}  # tried by themselves, or not ours
CALLS = {
    "x86_64": {"init_module": 175, "bpf": 321, "keyctl": 250},
    "aarch64": {"init_module": 105, "bpf": 280, "keyctl": 219},
}[os.uname().machine]
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000  # sched.h
PTRACE_ATTACH, PTRACE_DETACH = 16, 17  # sys/ptrace.h
BPF_PROG_LOAD, KEYCTL_GET_KEYRING_ID, SESSION_KEYRING = 5, 0, -3

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> str:
    """A function of libc. OSError where it says that it failed."""
    if libc[name](*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "done"


def permitted(name: str, *arguments: object) -> str:
    """A system call with wrong arguments: where it is not permitted, that is said before they are looked at."""
    try:
        call("syscall", CALLS[name], *arguments)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.ENOSYS}:
            raise
    return "permitted"


def in_a_child(change: Callable[[], object]) -> str:
    """Do something that can't be undone in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            change()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))
    return "done"


def status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def writable_places() -> str | None:
    """Where a file can be made or changed."""
    found = []
    for folder, folders, names in os.walk("/"):
        here = Path(folder)
        folders[:] = [name for name in folders if str(here / name) not in KEPT]
        try:
            (here / "tried").touch(exist_ok=False)
            (here / "tried").unlink()
            found.append(here)
        except OSError:
            pass
        found += [here / name for name in names if (here / name).is_file() and os.access(here / name, os.W_OK)]
    return f"{len(found)}, such as {' '.join(map(str, found[:3]))}" if found else None


def ask_api_server(path: str, body: bytes | None = None, **headers: str) -> str | None:
    """What it answers. None where it refuses."""
    address = "https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}".format(**os.environ)
    request = urllib.request.Request(address + path, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=5, context=ssl._create_unverified_context()) as answer:
            return f"{answer.status} {answer.read(40)}"
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in {401, 403}:
            return None
        raise


def name_at_the_api_server() -> str | None:
    """Who has one has the rights of the service account."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    return ask_api_server(path, json.dumps(review).encode(), Authorization=f"Bearer {TOKEN.read_text()}")


def metadata() -> str:
    with socket.create_connection(("169.254.169.254", 80), timeout=2):
        return "connected"


def capabilities() -> str | None:
    return next((f"{name} {status(name)}" for name in ("CapEff", "CapPrm", "CapBnd") if int(status(name), 16)), None)


def processes_of_others() -> str | None:
    """Those of another control group than ours, and so of another container."""

    def group(folder: Path) -> str:
        try:
            return (folder / "cgroup").read_text()
        except OSError:
            return ours  # it has ended

    ours = Path("/proc/self/cgroup").read_text()
    found = [folder for folder in Path("/proc").glob("[0-9]*") if group(folder) != ours]
    return f"{len(found)} processes" if found else None


def trace() -> str:
    """Hold the application's first process for a moment, as a debugger does. Its memory is then open."""
    call("ptrace", PTRACE_ATTACH, 1, 0, 0)
    os.waitpid(1, 0)
    return call("ptrace", PTRACE_DETACH, 1, 0, 0)


def device() -> str:
    path = MEMORY / "disk"
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(8, 0))
    path.unlink()
    return "made"


def mount() -> str:
    path = MEMORY / "here"
    path.mkdir()
    try:
        call("mount", b"none", bytes(path), b"tmpfs", 0, None)
        return call("umount2", bytes(path), 0)
    finally:
        path.rmdir()


def first(paths: list[str], attempt: Callable[[Path], object]) -> str:
    """The first path where something can be done. The last error where there is none."""
    last = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in paths:
        try:
            attempt(Path(path))
        except OSError as error:
            last = error
        else:
            return path
    raise last


def opened(*paths: str, flags: int = os.O_WRONLY) -> str:
    """The first that can be opened. Nothing is written."""
    return first(list(paths), lambda path: os.close(os.open(path, flags)))


def control_group(folder: Path) -> None:
    (folder / "tried").mkdir()
    (folder / "tried").rmdir()


def files_of_the_host() -> str | None:
    sockets = [f"/run/{name}.sock" for name in ("docker", "containerd/containerd", "crio/crio")]
    found = [path for path in ("/host/etc", "/var/lib/kubelet", *sockets) if Path(path).exists()]
    return " ".join(found) or None


def a_socket(family: int, protocol: int) -> str:
    with socket.socket(family, socket.SOCK_RAW, protocol):
        return "open"


TRIES: dict[str, Callable[[], str | None]] = {
    "write to any file or folder": writable_places,
    "read the service account's token": lambda: f"{len(TOKEN.read_text())} bytes",
    "have a name at the API server": name_at_the_api_server,
    "read secrets at the API server without a name": lambda: ask_api_server(
        f"/api/v1/namespaces/{sys.argv[1]}/secrets"
    ),
    "reach the metadata server": metadata,
    "hold a capability": capabilities,
    "become root (setuid)": lambda: in_a_child(lambda: os.setuid(0)),
    "join root's group (setgid)": lambda: in_a_child(lambda: os.setgid(0)),
    "gain rights by a program of root's": lambda: "no_new_privs is off" if status("NoNewPrivs") == "0" else None,
    "see processes of other containers": processes_of_others,
    "hold the application with ptrace": trace,
    "change the root folder (chroot)": lambda: in_a_child(lambda: os.chroot("/")),
    "mount a file system": mount,
    "have mounts of one's own (unshare)": lambda: in_a_child(lambda: call("unshare", CLONE_NEWNS)),
    "be root in a user namespace (unshare)": lambda: in_a_child(lambda: call("unshare", CLONE_NEWUSER)),
    "make a device": device,
    "send packets of one's own (raw socket)": lambda: a_socket(socket.AF_INET, socket.IPPROTO_ICMP),
    "listen to packets of others (packet socket)": lambda: a_socket(socket.AF_PACKET, 0),
    "load a module into the kernel": lambda: permitted("init_module", 0, 0, 0),
    "load a program into the kernel (bpf)": lambda: permitted("bpf", BPF_PROG_LOAD, 0, 0),
    "use the kernel's keys (keyctl)": lambda: permitted("keyctl", KEYCTL_GET_KEYRING_ID, SESSION_KEYRING, 0),
    "change the kernel's settings (/proc/sys)": lambda: opened("/proc/sys/kernel/panic", "/proc/sys/vm/swappiness"),
    "give the kernel orders (sysrq)": lambda: opened("/proc/sysrq-trigger"),
    "change devices' settings (/sys)": lambda: opened(
        "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state"
    ),
    "change control groups": lambda: first(["/sys/fs/cgroup", "/sys/fs/cgroup/memory"], control_group),
    "read the image's passwords": lambda: opened("/etc/shadow", flags=os.O_RDONLY),
    "read the kernel's log": lambda: opened("/dev/kmsg", "/proc/kmsg", flags=os.O_RDONLY | os.O_NONBLOCK),
    "touch the host's files": files_of_the_host,
}


def outcome(attempt: Callable[[], str | None]) -> tuple[str | None, str]:
    try:
        return attempt(), ""
    except (OSError, KeyError) as error:
        return None, str(error)


if __name__ == "__main__":
    signal.alarm(100)
    print(json.dumps({words: outcome(attempt) for words, attempt in TRIES.items() if words not in sys.argv[2:]}))
