"""The figures as a table for people and as JSON for programs."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench import machine
from bench.figures import NOISE, ROUNDS, Figure

HEAD = ("row", "ours", "against", "ratio", "middle half", "goal", "verdict")


def table(figures: Sequence[Figure]) -> str:
    """One line a figure. Ratios are of ours to the rival's."""
    lines = [HEAD, *map(_cells, figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    rule = "-" * min(sum(widths) + 2 * len(widths), shutil.get_terminal_size((120, 20)).columns)
    head, _, rest = text.partition("\n")
    return f"{head}\n{rule}\n{rest}\n"


def _cells(figure: Figure) -> tuple[str, ...]:
    low, high = figure.spread
    once = len(figure.ratios) == 1
    return (
        figure.name,
        f"{number(_middle(figure.ours))} {figure.unit}",
        f"{figure.rival_name}: {number(_middle(figure.rival))}",
        ratio(figure),
        "counted" if once else f"{low:.2f} to {high:.2f}",
        str(figure.goal or ""),
        figure.verdict,
    )


def ratio(figure: Figure) -> str:
    """For people; a count against none has no ratio."""
    return "" if figure.ratio == float("inf") else f"{figure.ratio:.2f}"


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def document(figures: Sequence[Figure], failures: dict[str, str]) -> str:
    """Everything, with the machine (not its name) and the versions. ``failures``: rows that could not be measured."""
    content: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.description(),
        "versions": machine.versions(),
        "rounds": ROUNDS,
        "noise": NOISE,
        "failures": failures,
        "figures": [
            {
                "row": figure.row,
                "name": figure.name,
                "rival": figure.rival_name,
                "unit": figure.unit,
                "ours": list(figure.ours),
                "rivals": list(figure.rival),
                "ratio": None if figure.ratio == float("inf") else round(figure.ratio, 4),
                "spread": [None if value == float("inf") else round(value, 4) for value in figure.spread],
                "goal": str(figure.goal) if figure.goal else None,
                "verdict": figure.verdict,
                **figure.more,
            }
            for figure in figures
        ],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
