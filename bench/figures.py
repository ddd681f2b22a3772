"""A figure: what was measured of ours and of its rival, round by round, and what follows from it.

A round measures both sides within a few seconds, and each round begins with the other side than the one before, so that
what the machine does meanwhile falls on both. Compared are ratios, never absolutes: they are what another machine
would find too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

ROUNDS = 5  # at least, for a verdict
NOISE = 0.10  # the middle half of the rounds' ratios may span so much of their median

Measure = Callable[[], float]


@dataclass(frozen=True)
class Goal:
    """What a ratio should be. ``told``: how the issue, or the reader, would write it."""

    bound: float
    at_least: bool = True

    def holds(self, ratio: float) -> bool:
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the table. ``ours`` and ``rival`` have a number for each round, in ``unit``.

    Counts that can't differ from round to round have one number, and no spread.
    """

    row: str
    name: str
    rival_name: str
    unit: str
    ours: Sequence[float]
    rival: Sequence[float]
    goal: Goal | None = None  # of ours to rival
    note: str = ""
    more: Mapping[str, object] = field(default_factory=dict)  # for the JSON only

    @property
    def ratios(self) -> list[float]:
        """Ours to the rival's, round by round; 0 where both are nothing."""
        return [_ratio(a, b) for a, b in zip(self.ours, self.rival, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The middle half of the ratios: the first and the third quartile."""
        ratios = self.ratios
        if len(ratios) < 2:
            return ratios[0], ratios[0]
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        return low, high

    @property
    def is_noisy(self) -> bool:
        low, high = self.spread
        return high - low > NOISE * self.ratio

    @property
    def verdict(self) -> str:
        """Whether the goal is kept or missed; noisy, or undecided, where there is no verdict; "" without a goal.

        Where every round says the same of the goal, it is no matter how far they differ: were the true ratio on the
        other side, five rounds of five would come out so once in 32 runs. Else the rounds must be close together
        (noisy), and the goal must not lie in their middle half (undecided).
        """
        if self.goal is None or 1 < len(self.ratios) < ROUNDS:
            return ""
        votes = {self.goal.holds(ratio) for ratio in self.ratios}
        low, high = self.spread
        if len(votes) > 1 and self.is_noisy:
            return "noisy"
        if len(votes) > 1 and self.goal.holds(low) != self.goal.holds(high):
            return "undecided"
        return "kept" if self.goal.holds(self.ratio) else "missed"


def alternate(rounds: int, measures: dict[str, Measure]) -> dict[str, list[float]]:
    """Each measure once a round, in turned order; the numbers by name."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for name in _turns(list(measures), rounds):
        found[name].append(measures[name]())
    return found


def _turns(names: list[str], rounds: int) -> Iterator[str]:
    for number in range(rounds):
        yield from names if number % 2 == 0 else reversed(names)


def _ratio(ours: float, rival: float) -> float:
    if rival:
        return ours / rival
    return 0.0 if not ours else float("inf")
