"""What a check is, and what can come of it."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

from conformance.http import NoResponse
from conformance.rows import ROWS
from conformance.target import CommandFailed, Target

Status = Literal["ok", "broken", "not run"]


class Broken(Exception):
    """The practice is not kept. ``saw``: what was seen, in one sentence. ``do``: what its author can do about it."""

    def __init__(self, saw: str, do: str) -> None:
        super().__init__(saw)
        self.saw = saw
        self.do = do


class NotRun(Exception):
    """It can't be judged. The message says why, and what to give or to mend first."""


class Stage(IntEnum):
    """When a check is run: what disturbs the service comes late, and the log is read when everything is in it."""

    CALM = 0
    OUTAGE = 1
    KILL = 2
    STOP = 3
    LOG = 4


@dataclass(frozen=True)
class Check:
    """``run`` returns what it saw, or raises Broken or NotRun. ``needs`` are names of Target.lacks()."""

    row: str
    proves: str
    run: Callable[[Target], str]
    needs: tuple[str, ...]
    stage: Stage

    @property
    def name(self) -> str:
        return f"{self.row}.{self.run.__name__}"


@dataclass(frozen=True)
class Result:
    """What came of a check. ``missing``: it was required, and not run."""

    row: str
    name: str
    proves: str
    status: Status
    saw: str
    do: str = ""
    seconds: float = 0.0
    missing: bool = False


ALL: list[Check] = []


def check(
    row: str, proves: str, *, needs: tuple[str, ...] = (), stage: Stage = Stage.CALM
) -> Callable[[Callable[[Target], str]], Callable[[Target], str]]:
    """Make a function a check of a row. ``proves`` is one sentence."""

    def register(run: Callable[[Target], str]) -> Callable[[Target], str]:
        ALL.append(Check(row, proves, run, needs, stage))
        return run

    return register


def run_checks(target: Target, only: Iterable[str], progress: Callable[[str], None]) -> Iterator[Result]:
    """Run the checks of these rows (all where there are none), and yield what came of each, in the order of running."""
    rows = set(only) or set(ROWS)
    chosen = [each for each in sorted(ALL, key=lambda c: c.stage) if each.row in rows]
    target.set_up()
    needs = {need for each in chosen for need in each.needs}
    if "log" in needs and not target.lacks("log"):
        target.mark_logs()
    if {"visits", "sign-in", "kept"} & needs:
        target.survey()
    for each in chosen:
        progress(f"{each.row} {each.proves}")
        yield _run(each, target)


def demand(results: list[Result], required: Iterable[str]) -> tuple[list[Result], list[str]]:
    """Hold the results against the rows and checks that were required: the results, and a sentence for each not run.

    What was not chosen has no result, and is not missed.
    """
    sentences = []
    for name in required:
        of_it = [result for result in results if name in (result.row, result.name)]
        if of_it and all(result.status == "not run" for result in of_it):
            lacks = "; ".join(dict.fromkeys(reason for result in of_it for reason in result.saw.split("; ")))
            sentences.append(f"{name} is required, but was not run: {lacks}")
            results = [replace(result, missing=True) if result in of_it else result for result in results]
    return results, sentences


def _demand(each: Check, target: Target) -> Check:
    """The check itself. NotRun where something is missing that it needs."""
    lacking = [text for text in map(target.lacks, each.needs) if text]
    if lacking:
        raise NotRun("; ".join(lacking))
    return each


def _run(each: Check, target: Target) -> Result:
    started = time.monotonic()
    status: Status = "ok"
    do = ""
    try:
        saw = _demand(each, target).run(target)
    except NotRun as error:
        status, saw = "not run", str(error)
    except Broken as error:
        status, saw, do = "broken", error.saw, error.do
    except NoResponse as error:
        status, saw, do = (
            "broken",
            f"no response: {error}",
            "the service must respond here, however the check disturbs it",
        )
    except CommandFailed:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever the service says must not end the run
        status, saw = "broken", f"could not be judged: {type(error).__name__}: {error}"
        do = "what the service said fits nothing that the check knows; see the paths in --help"
    return Result(each.row, each.name, each.proves, status, target.hidden(saw), do, time.monotonic() - started)
