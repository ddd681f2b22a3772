"""The ledger, in random schedules: numbered lines go in, through every kind of rotation and every kind of end of the
agent, and every one comes out. The agent's turns are made by the test, so each schedule can be played again."""

import itertools
import json
import os
import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from log_agent.agent import Agent
from log_agent.config import Config
from log_agent.formats import FORMATS
from log_agent.metrics import Metrics
from tests.sidecars.path_only import PathOnly

SCHEDULES = int(os.environ.get("SEATRIAL_SCHEDULES", "1000"))
MODES = ("rename", "dated", "copytruncate", "unlink", "mixed")


class Interrupted(Agent):
    """An agent whose application does something between its look at the files and its reading of them."""

    def __init__(self, ledger: "Ledger", config: Config) -> None:
        self._ledger = ledger
        super().__init__(config, Metrics(), ledger.take)

    def _scan(self, *, is_last: bool) -> bool:
        changed = super()._scan(is_last=is_last)
        ledger = self._ledger
        if not is_last and not ledger.is_calm and ledger.dice.random() < 0.2:
            ledger.is_calm = True
            ledger.dice.choice((Ledger.write, Ledger.write, Ledger.rotate))(ledger)
            ledger.is_calm = False
        return changed


@dataclass
class Ledger:
    """The application, the agent, and what went in and came out."""

    folder: Path
    mode: str
    dice: random.Random
    is_twin: bool = False  # the broken one reads
    written: list[int] = field(default_factory=list)
    out: list[tuple[int, str]] = field(default_factory=list)  # number and insertId
    said: list[str] = field(default_factory=list)
    is_calm: bool = False  # nothing interrupts the agent just now
    doubtful: bool = False  # the agent was killed, or its state lost: twins may come

    def __post_init__(self) -> None:
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.state = self.folder / "state.json"
        self.numbers = itertools.count()
        self.days = itertools.count()
        self.path = self.logs / "app.log"
        self.agent = self.start()

    def start(self) -> Agent | PathOnly:
        pattern = self.logs / ("app.log" if self.is_twin else "*.log*")
        config = Config(((str(pattern), FORMATS["access"]),), self.state, "127.0.0.1", 0, 0.0)
        return PathOnly(config, self.take) if self.is_twin else Interrupted(self, config)

    def take(self, lines: bytes) -> None:
        for line in lines.splitlines():
            record = json.loads(line)
            if record.get("logger") == "log_agent":
                self.said.append(record["message"])
            elif not self.is_twin or re.match(r"\d+ ", record["message"]):  # the twin tears lines, too
                self.out.append((int(record["message"].split()[0]), record["logging.googleapis.com/insertId"]))

    def write(self) -> None:
        count = self.dice.choice((1, 1, 2, 5, 40))
        with self.path.open("ab") as file:
            for number in itertools.islice(self.numbers, count):
                padding = "x" * self.dice.choice((0, 0, 3, 30, 300))
                file.write(f"{number} {padding}\n".encode())
                self.written.append(number)

    def rotate(self) -> None:
        """Move what was written out of the way, as the mode has it. Within a turn nothing is done that needs one."""
        mode = self.dice.choice(MODES[:-1]) if self.mode == "mixed" else self.mode
        if not self.path.exists():
            return
        within = self.is_calm
        match mode:
            case "rename":
                self._shift()
                self.path.rename(self.logs / "app.log.1")
            case "copytruncate":
                self._shift()
                shutil.copy(self.path, self.logs / "app.log.1")
                if (
                    not within and self.dice.random() < 0.5
                ):  # the copy is seen before the truncation, and what comes between is read
                    self.turn()
                    self.write()
                    self.turn()
                os.truncate(self.path, 0)
                if self.dice.random() < 0.5:
                    self.write()  # it has grown again before anybody looks
            case "dated":
                self.path = self.logs / f"app.{next(self.days):04}.log"
            case "unlink" if not within:
                self.turn()  # what nobody has opened is lost, whoever reads
                self.write()
                self.path.unlink()

    def _shift(self) -> None:
        for number in range(60, 0, -1):
            old = self.logs / f"app.log.{number}"
            if old.exists():
                old.rename(self.logs / f"app.log.{number + 1}")

    def turn(self) -> None:
        """Everything that is there is read."""
        before, self.is_calm = self.is_calm, True
        while self.agent.turn():
            pass
        self.is_calm = before

    def one_turn(self) -> None:
        self.agent.turn()

    def save(self) -> None:
        self.agent.save()

    def kill(self) -> None:
        self.turn_if_unlinked()
        self.agent.close()
        self.doubtful = True
        self.agent = self.start()

    def restart(self) -> None:
        self.agent.finish()
        self.agent.close()
        self.agent = self.start()

    def lose_state(self) -> None:
        self.turn_if_unlinked()
        self.agent.close()
        self.state.unlink(missing_ok=True)
        self.doubtful = True
        self.agent = self.start()

    def turn_if_unlinked(self) -> None:
        """What has no name any more dies with the agent, so it must have been read."""
        if self.mode in ("unlink", "mixed"):
            self.turn()


STEPS = (
    [Ledger.write] * 10 + [Ledger.rotate] * 4 + [Ledger.one_turn] * 6 + [Ledger.turn, Ledger.save, Ledger.restart]
)  # fmt: skip


def play(folder: Path, mode: str, seed: int, *, with_kills: bool, is_twin: bool = False) -> Ledger:
    """One schedule, to its end."""
    dice = random.Random(f"{mode} {seed} {with_kills}")
    ledger = Ledger(folder, mode, dice, is_twin)
    steps = STEPS + [Ledger.kill, Ledger.lose_state] * with_kills
    for _ in range(dice.choice((10, 30, 60))):
        dice.choice(steps)(ledger)
    ledger.agent.finish()
    ledger.agent.close()
    return ledger


@pytest.mark.parametrize("with_kills", [False, True], ids=["in order", "with kills"])
@pytest.mark.parametrize("mode", MODES)
def test_no_line_is_lost(tmp_path: Path, mode: str, *, with_kills: bool) -> None:
    played = twins_seen = 0
    for seed in range(SCHEDULES // 10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        ledger = play(folder, mode, seed, with_kills=with_kills)
        came = Counter(number for number, _ in ledger.out)
        missing = sorted(set(ledger.written) - set(came))
        assert not missing, f"seed {seed}: {len(missing)} of {len(ledger.written)} lines are missing: {missing[:10]}"
        twins = {number: count for number, count in came.items() if count > 1}
        assert ledger.doubtful or not twins, f"seed {seed}: twins though nobody was killed: {list(twins)[:10]}"
        assert not set(came) - set(ledger.written)
        played += len(ledger.written)
        twins_seen += len(twins)
        shutil.rmtree(folder)
    print(f"{mode}, {'with kills' if with_kills else 'in order'}: {played} lines, 0 missing, {twins_seen} with a twin")
    assert played > SCHEDULES


@pytest.mark.parametrize("mode", ["rename", "copytruncate", "unlink"])
def test_the_broken_twin_loses_lines_in_the_same_ledger(tmp_path: Path, mode: str) -> None:
    written = missing = 0
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        ledger = play(folder, mode, seed, with_kills=False, is_twin=True)
        written += len(ledger.written)
        missing += len(set(ledger.written) - {number for number, _ in ledger.out})
    print(f"path only, {mode}: {missing} of {written} lines are missing")
    assert written / 100 < missing < written
