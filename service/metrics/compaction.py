"""What dead workers counted, in one file instead of one for each of them.

Without this every worker that ever lived leaves its files, and each scrape reads them all.
"""

import os
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

from service.metrics.multiprocess import VARIABLE, locked

DEAD = "dead"  # stands where a process id stands in a file's name


def child_exit(pid: int) -> None:
    """A worker is gone: its live gauges go, its counters and histograms are added to those of the other dead ones.

    Call it in the parent for each worker that ended, however it ended. The sums stay the same to the unit. Nothing
    happens where there is no folder for metrics.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return
    folder = Path(named)
    with locked(folder, shared=False):
        mark_process_dead(pid, named)  # type: ignore[no-untyped-call] # of prometheus_client
        for kind in ("counter", "histogram", "summary"):
            _add(folder / f"{kind}_{pid}.db", folder / f"{kind}_{DEAD}.db")


def _add(source: Path, target: Path) -> None:
    """Add the values of one file to those of another; the first is gone then."""
    if not source.exists():
        return
    if not source.stat().st_size:  # killed before it could count anything
        source.unlink()
        return
    if not target.exists():
        source.rename(target)
        return
    sums: dict[str, float] = {}
    for file in (target, source):
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call] # as above
            sums[key] = sums.get(key, 0.0) + value
    new = target.with_suffix(".new")
    new.unlink(missing_ok=True)
    merged = MmapedDict(str(new))  # type: ignore[no-untyped-call] # as above
    for key, value in sums.items():
        merged.write_value(key, value, 0.0)  # type: ignore[no-untyped-call] # as above
    merged.close()  # type: ignore[no-untyped-call] # as above
    new.replace(target)
    source.unlink()
