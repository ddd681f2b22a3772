"""A folder as a store: kills, links, full and read-only disks, several processes."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.storage.file import FileStore, layout
from service.storage.store import (
    ChecksumMismatch,
    ObjectInfo,
    PreconditionFailed,
    StorageMisconfigured,
    StorageUnavailable,
)
from tests.support.gcs import ROOT
from tests.support.processes import read_line

KEY = "visitors/owner/name"


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path))


def put(store: FileStore, data: bytes = b"hello", generation: int | None = None, key: str = KEY) -> ObjectInfo:
    return store.put(key, iter([data]), content_type="text/plain", generation=generation)


def read(store: FileStore, info: ObjectInfo) -> bytes:
    return b"".join(store.get(info, 0, info.size))


@contextlib.contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process with a store; it has said "ready" when this is entered."""
    command = [sys.executable, "-c", "from service.storage.file import FileStore\n" + code, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout
    with process.stdout:
        try:
            assert read_line(process.stdout.fileno(), seconds=20) == b"ready\n"
            yield process
        finally:
            process.kill()
            process.wait()


UPLOAD = """
import sys, time
def body():
    yield b"new" * 100_000
    print("ready", flush=True)
    time.sleep(60)
FileStore(sys.argv[1]).put("visitors/owner/name", body(), content_type="a/b", generation=None)
"""


def test_a_kill_in_the_middle_of_an_upload_leaves_the_old_file_and_is_swept(store: FileStore, tmp_path: Path) -> None:
    info = put(store, b"old")
    with child(UPLOAD, str(tmp_path)) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert store.stat(KEY) == info
    assert read(store, info) == b"old"
    assert store.list("", page_token=None, limit=10).objects == [info]
    (left,) = (tmp_path / ".uploads").iterdir()
    put(FileStore(str(tmp_path)))
    assert left.exists(), "it may be younger than its lock"
    age(left)
    put(FileStore(str(tmp_path)))
    assert not left.exists()


def test_an_upload_that_lives_is_not_swept(tmp_path: Path) -> None:
    with child(UPLOAD, str(tmp_path)):
        (living,) = (tmp_path / ".uploads").iterdir()
        age(living)
        put(FileStore(str(tmp_path)))
        assert living.exists()


def age(path: Path) -> None:
    long_ago = time.time() - 2 * layout.SWEEP_SECONDS
    os.utime(path, (long_ago, long_ago))


REWRITE = """
import sys
store = FileStore(sys.argv[1])
print("ready", flush=True)
while True:
    for byte in b"ab":
        body = iter([bytes([byte]) * 70_000] * 3)
        store.put("visitors/owner/name", body, content_type="a/b", generation=None)
"""


def test_kills_at_any_moment_never_leave_half_a_file(store: FileStore, tmp_path: Path) -> None:
    put(store, b"a" * 210_000)
    for turn in range(8):
        with child(REWRITE, str(tmp_path)) as process:
            time.sleep(0.005 * turn)  # at another moment each time
            process.send_signal(signal.SIGKILL)
            process.wait()
        info = store.stat(KEY)
        assert info is not None
        assert read(store, info) in (b"a" * 210_000, b"b" * 210_000)
    for left in (tmp_path / ".uploads").iterdir():
        age(left)
    put(FileStore(str(tmp_path)))
    assert list((tmp_path / ".uploads").iterdir()) == []


CREATE = """
import sys
from service.storage.store import PreconditionFailed
store = FileStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
won = []
for number in range(50):
    try:
        store.put(f"visitors/owner/{number}", iter([sys.argv[2].encode()]), content_type="a/b", generation=0)
        won.append(number)
    except PreconditionFailed:
        pass
print(*won, flush=True)
"""


def test_what_is_told_to_be_stored_or_deleted_is_on_the_disk(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it gets its name, the folder after it; and the new folders on the way."""
    steps: list[str] = []

    def fsync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        steps.append(f"fsync {path.relative_to(tmp_path)}")
        os_fsync(file)

    def rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append(f"rename {source} {target}")
        os_rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    os_fsync, os_rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    put(store)
    put(store, b"again")
    for number in range(2):
        at = [index for index, step in enumerate(steps) if step.startswith("rename")][number]
        upload, target = steps[at].split()[1:]
        assert target == "name.object"
        assert f"fsync .uploads/{upload}" in steps[:at]
        assert steps[at + 1] == "fsync visitors/owner"
    assert steps.index("fsync visitors") < steps.index("fsync visitors/owner"), "the owner's folder was new"
    steps.clear()
    store.delete(KEY, generation=None)
    assert steps == ["fsync visitors/owner"]


def test_of_racing_processes_exactly_one_creates(store: FileStore, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from service.storage.file import FileStore\n" + CREATE, str(tmp_path)]
    racers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) for name in "abcd"
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == b"ready\n"
    won = {}
    for racer in racers:
        assert racer.stdin
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    for name, racer in zip("abcd", racers, strict=True):
        output, _ = racer.communicate(timeout=60)
        assert racer.returncode == 0
        for number in output.split():
            assert number not in won
            won[number] = name
    assert len(won) == 50
    for number, name in won.items():
        info = store.stat(f"visitors/owner/{number.decode()}")
        assert info
        assert read(store, info) == name.encode()


@pytest.mark.parametrize("where", ["visitors", "visitors/owner", ".uploads", ".locks"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path, where: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    link = root / where
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    store = FileStore(str(root))
    with pytest.raises(StorageMisconfigured, match="link"):
        put(store)
    assert list(outside.iterdir()) == []
    if where.startswith("visitors"):
        with pytest.raises(StorageMisconfigured, match="link"):
            store.stat(KEY)
        with pytest.raises(StorageMisconfigured, match="link"):
            store.delete(KEY, generation=None)


def test_a_link_in_the_place_of_a_file_is_neither_read_nor_listed(store: FileStore, tmp_path: Path) -> None:
    secret = put(store, b"secret", key="visitors/other/name")
    (tmp_path / "visitors/owner").mkdir()
    (tmp_path / "visitors/owner/name.object").symlink_to(tmp_path / "visitors/other/name.object")
    with pytest.raises(StorageMisconfigured, match="link"):
        store.stat(KEY)
    assert store.list("visitors/owner/", page_token=None, limit=10).objects == []
    assert read(store, secret) == b"secret"


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = FileStore(str(tmp_path / "link"))
    assert read(store, put(store)) == b"hello"


def test_a_file_that_was_moved_is_not_somebody_elses(store: FileStore, tmp_path: Path) -> None:
    """An object says whose it is; its place alone opens nothing."""
    put(store, b"secret", key="visitors/other/name")
    (tmp_path / "visitors/owner").mkdir()
    (tmp_path / "visitors/other/name.object").rename(tmp_path / "visitors/owner/name.object")
    with pytest.raises(StorageMisconfigured, match="another object"):
        store.stat(KEY)
    assert store.list("visitors/owner/", page_token=None, limit=10).objects == []


def test_a_file_that_version_0_1_0_wrote_is_still_read(store: FileStore, tmp_path: Path) -> None:
    """Nothing but the eight bytes before the last four has changed since."""
    info = ObjectInfo(KEY, 5, "text/plain", 1, 0x9A71BB4C, 0.5)
    fields = {"key": KEY, "size": 5, "content_type": "text/plain", "generation": 1}
    fields |= {"crc32c": 0x9A71BB4C, "updated": 0.5}
    description = json.dumps({"object": fields, "metadata": {}}).encode()
    (tmp_path / "visitors/owner").mkdir(parents=True)
    magic = bytes.fromhex("53 45 41 54 52 49 41 4c")
    (tmp_path / "visitors/owner/name.object").write_bytes(
        b"hello" + description + magic + struct.pack(">I", len(description))
    )
    assert store.stat(KEY) == info
    assert read(store, info) == b"hello"
    assert store.list("", page_token=None, limit=10).objects == [info]
    assert store.delete(KEY, generation=1)


@pytest.mark.parametrize("content", [b"", b"x" * 5, b"x" * 5000, b"{}%s\0\0\0\2", b"%s\xff\xff\xff\xff"])
def test_a_foreign_file_is_told(store: FileStore, tmp_path: Path, content: bytes) -> None:
    put(store)
    path = tmp_path / "visitors/owner/name.object"
    magic = path.read_bytes()[-12:-4]
    path.write_bytes(content.replace(b"%s", magic))
    with pytest.raises(StorageMisconfigured, match="not an object of this store"):
        store.stat(KEY)


def test_a_pipe_in_the_place_of_a_file_does_not_hang(store: FileStore, tmp_path: Path) -> None:
    put(store)
    (tmp_path / "visitors/owner/name.object").unlink()
    os.mkfifo(tmp_path / "visitors/owner/name.object")
    with pytest.raises(StorageMisconfigured):
        store.stat(KEY)


def test_a_byte_that_rotted_on_the_disk_is_noticed(store: FileStore, tmp_path: Path) -> None:
    info = put(store, b"x" * 600_000)
    path = tmp_path / "visitors/owner/name.object"
    content = bytearray(path.read_bytes())
    content[300_000] ^= 1
    path.write_bytes(content)
    received = 0
    with pytest.raises(ChecksumMismatch):
        for chunk in store.get(info, 0, info.size):
            received += len(chunk)
    assert received < info.size


LIMITED = """
import resource, signal, sys
from service.storage.store import StorageMisconfigured
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    FileStore(sys.argv[1]).put(
        "visitors/owner/name", iter([b"x" * 3_000_000]), content_type="a/b", generation=None
    )
except StorageMisconfigured as error:
    assert "no room" in str(error), error
    print("ready", flush=True)
"""


def test_a_full_disk_is_told_and_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    """The kernel's limit on a file's size stands in for a full disk: the write fails in the same place."""
    old = put(store, b"old")
    with child(LIMITED, str(tmp_path)):
        pass
    assert store.stat(KEY) == old
    assert list((tmp_path / ".uploads").iterdir()) == []


def test_a_read_only_disk_is_told() -> None:
    """/sys is one that every machine has: it has no room and takes nothing, mounted writable or not."""
    store = FileStore("/sys")
    with pytest.raises(StorageMisconfigured, match=r"read-only|no permission|no room"):
        store.check()
    with pytest.raises(StorageMisconfigured):
        put(store)


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FileStore(str(tmp_path / "file"))
    for call in (store.check, lambda: put(store), lambda: store.list("", page_token=None, limit=1)):
        with pytest.raises(StorageMisconfigured, match="link or a file where a folder belongs"):
            call()


def test_no_permission_is_told(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o555)
    code = f"""
import os
from service.storage.store import StorageMisconfigured
if os.geteuid() == 0:
    os.setuid(65534)
store = FileStore({str(tmp_path / "root")!r})
for call in (store.check, lambda: store.put("a/b", iter([b""]), content_type="a/b", generation=None)):
    try:
        call()
    except StorageMisconfigured as error:
        assert "no permission" in str(error), error
    else:
        raise SystemExit("nothing was told")
print("ready", flush=True)
"""
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)  # so that another user gets there at all
    with child(code):
        pass


def test_no_file_is_left_open(store: FileStore) -> None:
    info = put(store, b"x" * 600_000)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        read(store, info)
        next(store.get(info, 0, info.size))  # left early
        store.list("", page_token=None, limit=10)
        with pytest.raises(PreconditionFailed):
            put(store, b"", 1)
        with contextlib.suppress(StorageUnavailable, StorageMisconfigured):
            store.check()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_person_finds_a_plain_name(store: FileStore, tmp_path: Path) -> None:
    put(store, b"hello", key="visitors/0123abcd/notes.txt")
    assert (tmp_path / "visitors/0123abcd/notes.txt.object").read_bytes().startswith(b"hello")
