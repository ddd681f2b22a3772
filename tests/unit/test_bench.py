"""The benchmark's own arithmetic: rounds, spread, verdicts, and what is shown of them."""

import json
from xml.etree import ElementTree as ET

import pytest

from bench import flame, plot, report
from bench.figures import Figure, Goal, alternate


def figure(*ratios: float, goal: Goal | None = None) -> Figure:
    return Figure(
        "row", "ours & theirs", "a <rival>", "s", [10 * ratio for ratio in ratios], [10.0] * len(ratios), goal
    )


@pytest.mark.parametrize(
    ("ratios", "goal", "verdict"),
    [
        ((1.0, 1.01, 1.02, 0.99, 1.0), Goal(0.9), "kept"),
        ((0.8, 0.81, 0.82, 0.79, 0.8), Goal(0.9), "missed"),
        ((1.0, 1.01, 1.02, 0.99, 1.0), Goal(1.2, at_least=False), "kept"),
        ((1.3, 1.31, 1.32, 1.29, 1.3), Goal(1.2, at_least=False), "missed"),
        ((0.7, 0.8, 1.0, 1.2, 1.3), Goal(0.9), "noisy"),
        ((0.7, 0.8, 1.0, 1.2, 1.3), Goal(0.5), "kept"),  # far apart, but every round says so
        ((0.7, 0.8, 1.0, 1.2, 1.3), Goal(1.5), "missed"),
        ((0.88, 0.89, 0.9, 0.91, 0.92), Goal(0.9), "undecided"),
        ((0.5, 1.0, 1.0, 1.0, 3.0), Goal(0.9), "kept"),  # two strange rounds of five
        ((1.0, 1.0), Goal(0.9), ""),  # too few
        ((1.0, 1.0, 1.0, 1.0, 1.0), None, ""),
        ((1.0,), Goal(0.9), "kept"),  # a count
    ],
)
def test_a_verdict_needs_rounds_that_agree(ratios: tuple[float, ...], goal: Goal | None, verdict: str) -> None:
    assert figure(*ratios, goal=goal).verdict == verdict


def test_ratios_are_of_each_round_by_itself() -> None:
    slower = Figure("row", "a", "b", "s", [1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
    assert slower.ratio == 0.5
    assert slower.spread == (0.5, 0.5)


def test_nothing_against_something_is_kept() -> None:
    lost = Figure("drain", "failed", "gunicorn", "requests", [0.0], [100.0], Goal(0.0, at_least=False))
    assert lost.verdict == "kept"
    lost = Figure("drain", "failed", "gunicorn", "requests", [0.0], [0.0], Goal(0.0, at_least=False))
    assert lost.verdict == "kept"
    lost = Figure("drain", "failed", "gunicorn", "requests", [1.0], [0.0], Goal(0.0, at_least=False))
    assert lost.verdict == "missed"


def test_rounds_begin_with_each_side_in_turn() -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = alternate(3, {"a": lambda: measure("a"), "b": lambda: measure("b")})
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_the_table_and_the_json_say_the_same() -> None:
    kept = figure(1.0, 1.01, 1.02, 0.99, 1.0, goal=Goal(0.9))
    (head, _, line, *_) = report.table([kept]).splitlines()
    assert head.split()[:2] == ["row", "ours"]
    assert line.endswith("kept")
    assert "1.00" in line
    document = json.loads(report.document([kept], {"files": "no room"}))
    assert document["figures"][0]["verdict"] == "kept"
    assert document["failures"] == {"files": "no room"}
    assert "node" not in document["machine"]
    assert document["versions"]["python"]


def test_the_plot_is_valid_whatever_the_names_are() -> None:
    missed = figure(5.0, goal=Goal(1.2, at_least=False))
    tree = ET.fromstring(plot.svg([missed, figure(1.0)], about="a <machine>"))
    texts = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "ours & theirs / a <rival>" in texts
    assert "5.00 (≤ 1.2) missed" in texts
    widths = [int(bar.attrib["width"]) for bar in tree.iter("{http://www.w3.org/2000/svg}rect")]
    assert max(widths) <= plot.WIDTH


def test_the_flame_graph_shows_what_requests_do() -> None:
    stacks = "main (x);idle (y.py) 50\nrun (z.py);HttpWorker._serve (service/server/worker.py);a<b (web.py) 30\n"
    stacks += "run (z.py);HttpWorker._serve (service/server/worker.py);other (flask/app.py) 10\n"
    picture = flame.svg(stacks)
    titles = [title.text for title in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        "HttpWorker._serve (service/server/worker.py): 100.0%",
        "a<b (web.py): 75.0%",
        "other (flask/app.py): 25.0%",
    ]
