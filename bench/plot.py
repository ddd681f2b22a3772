"""The figures as a picture, for the documents: one bar a figure, its goal a mark, in SVG written by hand."""

from collections.abc import Sequence
from html import escape

from bench.figures import Figure
from bench.report import ratio

WIDTH, LEFT, RIGHT, ROW, TOP = 960, 470, 130, 24, 64
MOST = 2.5  # ratios beyond are drawn up to here, and written
COLOURS = {"kept": "#1a7f5a", "missed": "#b3431e", "noisy": "#8a8f98", "undecided": "#8a8f98", "": "#8a8f98"}


def svg(figures: Sequence[Figure], *, about: str) -> str:
    """Ratios on one scale. ``about``: on what machine and when, in one line."""
    shown = [figure for figure in figures if figure.goal and figure.ratio != float("inf")]
    height = TOP + ROW * len(shown) + 20
    one = _x(1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
        "<style>text { font: 12px sans-serif }</style>",
        '<title id="title">Seatrial against what one would take instead: ratios and goals</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="22" font-size="14" font-weight="bold">Ours against what one would take instead</text>',
        f'<text x="16" y="42" fill="#57606a">{escape(about)}. The black mark is the goal.</text>',
        f'<line x1="{one}" x2="{one}" y1="{TOP - 8}" y2="{height - 14}" stroke="#c4c9d0"/>',
        f'<text x="{one}" y="{TOP - 12}" text-anchor="middle" fill="#57606a">1</text>',
    ]
    for number, figure in enumerate(shown):
        parts += _bar(figure, TOP + number * ROW)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(figure: Figure, y: int) -> list[str]:
    low, high = figure.spread
    end, colour = _x(figure.ratio), COLOURS[figure.verdict]
    middle = y + ROW // 2
    name = f"{figure.name} / {figure.rival_name}"
    told = f"{ratio(figure)} ({figure.goal}) {figure.verdict}"
    goal = _x(figure.goal.bound) if figure.goal else 0
    return [
        f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LEFT}" y="{y + 5}" width="{max(1, end - LEFT)}" height="{ROW - 10}" fill="{colour}"/>',
        f'<line x1="{_x(low)}" x2="{_x(high)}" y1="{middle}" y2="{middle}" stroke="#ffffff" stroke-width="2"/>',
        f'<line x1="{goal}" x2="{goal}" y1="{y + 2}" y2="{y + ROW - 2}" stroke="#000000" stroke-width="2"/>',
        f'<text x="{max(end, goal) + 6}" y="{middle + 4}">{escape(told)}</text>',
    ]


def _x(value: float) -> int:
    return LEFT + round(min(value, MOST) / MOST * (WIDTH - LEFT - RIGHT))
