"""The service with a profiler: which functions of ours a request passes through, and how often.

``python -m tests.support.profiled FOLDER`` runs ``python -m service``. While the byte in FOLDER/switch is 1, each call
of a function under service/ is counted; when it becomes 2, the counts are written to FOLDER/calls.json, by
"file:function".
"""

import json
import mmap
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = str(Path(__file__).parents[2] / "service") + "/"
OFF, COUNT, WRITE = 0, 1, 2
OTHERS = ("ops", "check-")  # names of threads that serve no visitor


def main() -> int:
    folder = Path(sys.argv.pop(1))
    with (folder / "switch").open("r+b") as file:
        switch = mmap.mmap(file.fileno(), 1)  # shared with the test, and with the worker that is forked
    calls: Counter[str] = Counter()
    lock = threading.Lock()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if switch[0] == OFF or event != "call":
            return
        code = frame.f_code
        with lock:
            if switch[0] == WRITE:
                (folder / "calls.new").write_text(json.dumps(calls))
                (folder / "calls.new").rename(folder / "calls.json")
                switch[0] = OFF
            elif code.co_filename.startswith(ROOT) and not threading.current_thread().name.startswith(OTHERS):
                calls[f"{code.co_filename.removeprefix(ROOT)}:{code.co_qualname}"] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    from service.__main__ import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
