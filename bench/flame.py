"""``python -m bench.flame FILE``: where the main route's time goes, as a flame graph (SVG), by py-spy under full load.

Only what holds Python's global lock is drawn: what waits costs nothing.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from bench.load import background
from bench.servers import service

SECONDS = 15
FIRST = "HttpWorker._serve"  # what is above it is the same for all
OURS, THEIRS = "#8fc1a9", "#d9dce1"
TITLE = "GET /api/instance under full load"


def main(target: str) -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder, service(Path(folder), INSTANCE="bench") as server:
        with background(server, "/api/instance"):
            spy = [str(Path(sys.executable).parent / "py-spy"), "record", "--gil", "--rate", "500", "--function"]
            spy += ["--duration", str(SECONDS), "--format", "raw", "--output", f"{folder}/stacks"]
            subprocess.run([*spy, "--pid", str(server.pids[1])], check=True, stdout=subprocess.DEVNULL)
        Path(target).write_text(svg(Path(folder, "stacks").read_text(encoding="utf-8")), encoding="utf-8")


WIDTH, ROW = 1200, 17  # pixels
LEAST = 0.003  # what took less than this share is left away


@dataclass
class Frame:
    """A function where it was called, and how many samples saw it."""

    count: int = 0
    calls: "dict[str, Frame]" = field(default_factory=dict)


def svg(stacks: str) -> str:
    """The picture of py-spy's raw stacks: one row a call, as wide as its share; the full name in the tooltip."""
    root = _tree(stacks)
    boxes: list[str] = []
    depth = _draw(root, 0.0, 0, root.count, boxes)
    height = (depth + 2) * ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{TITLE}">'
    style = "<style>text { font: 11px monospace; pointer-events: none } rect { stroke: #fff; stroke-width: .5 }</style>"
    title = f'<text x="4" y="13">{TITLE}: {root.count} samples</text>'
    return (
        "\n".join([head, style, f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', title, *boxes, "</svg>"])
        + "\n"
    )


def _tree(stacks: str) -> Frame:
    root = Frame()
    for line in stacks.splitlines():
        path, _, count = line.rpartition(" ")
        names = path.split(";")
        first = next((n for n, name in enumerate(names) if name.startswith(FIRST)), None)
        if first is None:
            continue  # the main thread, and the background checks
        root.count += int(count)
        frame = root
        for name in names[first:]:
            frame = frame.calls.setdefault(name, Frame())
            frame.count += int(count)
    return root


def _draw(frame: Frame, left: float, depth: int, total: int, boxes: list[str]) -> int:
    """Draw what a frame calls, in the order of names; how many rows that took."""
    deepest = depth
    for name, call in sorted(frame.calls.items()):
        share = call.count / total
        if share >= LEAST:
            width, y = share * WIDTH, (depth + 1) * ROW
            colour = OURS if "(service/" in name else THEIRS
            label = escape(name.split(" (")[0][: int(width / 7)])
            boxes.append(
                f'<g><title>{escape(name)}: {share:.1%}</title><rect x="{left:.1f}" y="{y}" width="{width:.1f}" '
                f'height="{ROW}" fill="{colour}"/><text x="{left + 2:.1f}" y="{y + 12}">{label}</text></g>'
            )
            deepest = max(deepest, _draw(call, left, depth + 1, total, boxes))
        left += share * WIDTH
    return deepest


if __name__ == "__main__":
    main(sys.argv[1])
