"""The folder in which several worker processes keep their metrics, so that one of them can render the sum of all.

prometheus-client decides when it is first imported whether it counts in memory or in such a folder, so this module
comes before it and does not import it. https://prometheus.github.io/client_python/multiprocess/
"""

import atexit
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from service.settings import Settings

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
STARTED = "started"  # a file: when the service started, in seconds since the epoch
_ROOM_FOR_EACH = 2 * 2**20  # bytes; a worker's files are about 0.5 MiB. Without room it would die of SIGBUS

log = logging.getLogger(__name__)


def prepare_multiprocess(settings: Settings) -> Path | None:
    """Make the folder and name it in the environment; None where there is one worker, which needs none.

    Call it in the parent process before anything imports prometheus_client (RuntimeError if it is too late). A folder
    that is named already is emptied: it may outlive a container, and process ids come again. Ours is removed when this
    process ends.
    """
    given = os.environ.pop(VARIABLE, "") or os.environ.pop(VARIABLE.lower(), "")
    if settings.web_concurrency == 1:
        return None
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prepare_multiprocess must be called before prometheus_client is imported")
    if given:
        folder = Path(given)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.db"):
            old.unlink()
    else:
        folder = Path(tempfile.mkdtemp(prefix="metrics-", dir=_where()))
        atexit.register(_remove, folder, os.getpid())
    needed = settings.web_concurrency * _ROOM_FOR_EACH
    if shutil.disk_usage(folder).free < needed:
        log.warning("little room for metrics in %s: %d workers want %d bytes", folder, settings.web_concurrency, needed)
    (folder / STARTED).write_text(str(time.time()), encoding="ascii")
    os.environ[VARIABLE] = str(folder)
    return folder


def _where() -> str | None:
    """Memory, if there is such a file system: each request writes there."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 -- mkdtemp makes a name that can't be guessed


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a worker runs its parent's exit handlers too
        shutil.rmtree(folder, ignore_errors=True)
