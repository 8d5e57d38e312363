"""A file of a server's home is damaged while it is down; `damages` has the table of what comes."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mta.testing.ports import free_port
from tests.torture import checker, damages
from tests.torture.checker import Evidence, Problem
from tests.torture.damages import DAMAGES, KINDS, WHOLE, Kind
from tests.torture.letters import Mix
from tests.torture.logfiles import LogFiles
from tests.torture.results import Row
from tests.torture.rig import INTERVAL, Before, Rig, StuckError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.checker import Account
    from tests.torture.logfiles import Record
    from tests.torture.results import Plan
    from tests.torture.rig import Server

ABOUT = "a file of spool, log or state is cut, flipped, zeroed, removed or exchanged"
ROUNDS = 200  # more than the table has cells: all of them
PATIENCE = 60.0  # seconds
BACKLOG = "accept.example"  # nobody listens there before the damage
MIX = Mix(
    {BACKLOG: 60, "slow.example": 30, "unknown.example": 10},
    {500: 50, 6_000: 30, 20_000: 20},
    {1: 50, 3: 50},
)
SHARDS = 2
EACH = 16  # messages of each life of the home before the damage
LIVES = 3  # the last of them ends by kill -9
SETTINGS = """\
[log]
segment_age = "1s"
[memory]
cap = "80MB"
[smtpd]
max_size = "5MB"
"""
FLAGS = ("-o", "grace=1s")
UNREAD = {"unreadable_content", "unreadable_records"}  # alarms of what waits for a repair
EXCHANGED = ("was it renamed", "was it exchanged")  # what is not repaired but put back
SHOWING = 15.0  # seconds of such an alarm that tell what waits from what is read a second time
USUAL = re.compile(r"(spool|logs|control socket|metrics|ready|stopping|listening|smtp|mta) ?")


@dataclass
class Base:
    """A home with mail in it, and what is known of that mail."""

    home: Path
    older: Path  # the same, a life before
    before: Before
    log: list[Record]


@dataclass
class Seen:
    """What came of a damage."""

    said: bool = False
    refused: bool = False
    misnamed: bool = False
    waits: bool = False
    lost: bool = False
    held: bool = False  # no mail is sent
    checked: bool = False  # `mta spool check` tells
    ends: set[str] = field(
        default_factory=set
    )  # Bounce, Lost: of recipients whose receivers do not say so

    def outcome(self) -> str:
        """The word of the table."""
        word = (
            "put back" if self.misnamed else "refused" if self.refused
            else "held" if self.held else "waits" if self.waits
            else "lost" if self.lost else "bounced" if "Bounce" in self.ends
            else "said" if self.said else "check" if self.checked else "nothing"
        )  # fmt: skip
        more = (
            damages.MORE[end] for end in sorted(self.ends) if damages.MORE[end] != f"some {word}"
        )
        return ", ".join([word, *more])


def run(plan: Plan) -> list[Row]:
    """All cells of the table, or as many as there are rounds."""
    chance = random.Random(plan.seed)
    wanted = [(kind, damage) for kind in KINDS for damage in DAMAGES if _applies(kind, damage)
              and any(one in kind.name for one in plan.options.get("kind", "").split(";"))
              and plan.options.get("damage", "") in damage]  # fmt: skip
    if plan.rounds < len(wanted):
        changing = [(kind, damage) for kind, damage in wanted if _expected(kind, damage) != "-"]
        wanted = chance.sample(changing, min(plan.rounds, len(changing)))
    rows: dict[str, Row] = {}
    with Rig(plan.folder, plan.seed, workers=2, mix=MIX, settings=SETTINGS, flags=FLAGS) as rig:
        base = prepare(rig)
        if strange := damages.unknown(base.home):
            row = rows["files"] = Row("files of a home that the table does not know", 1)
            row.problems, row.found = len(strange), strange
        for kind, damage in wanted:
            began = time.monotonic()
            cell = Cell(rig, base, kind, damage)
            if not cell.is_there():
                continue
            account = cell.run()
            row = rows.setdefault(kind.name, Row(f"damaged: {kind.name}", 0))
            row.rounds += 1
            row.seconds += time.monotonic() - began
            row.add(account, f"[{kind.name} {damage}] ")
            row.recovery = max(row.recovery, cell.recovery)
            plan.tell(f"{kind.name} {damage}: {cell.seen.outcome()}; {account}")
    return list(rows.values())


def _expected(kind: Kind, damage: str) -> str:
    return kind.outcomes[list(DAMAGES).index(damage)]


def _applies(kind: Kind, damage: str) -> bool:
    return damage in WHOLE if kind.folder else damage != "an older copy"


def prepare(rig: Rig) -> Base:
    """Some mail that was delivered or bounced, some that waits, in a home of two shards."""
    server = rig.server
    text, dead = server.config.read_text(), free_port()
    server.config.write_text(text.replace(f':{rig.sink.ports[BACKLOG]}"', f':{dead}"'))
    for life in range(LIVES):
        server.start(PATIENCE)
        server.wait(lambda: server.rows() is not None, "has no second worker", PATIENCE)
        rig.injector.send(EACH, PATIENCE)
        server.wait(lambda: _only_backlog(server), "does not send", PATIENCE)
        if life < LIVES - 1:
            server.stop()
        if life == LIVES - 2:
            copy(server.home, rig.folder / "older")
    time.sleep(4 * INTERVAL)  # what was recorded last is in the spool, too
    server.kill()
    home = rig.folder / "base"
    copy(server.home, home)
    journal, arrivals = rig.evidence()
    log = LogFiles(home / "log").records
    return Base(home, rig.folder / "older", Before(journal, arrivals, server.faults), log)


def _only_backlog(server: Server) -> bool:
    rows = server.rows()
    return rows is not None and all(row["recipient"].endswith(BACKLOG) for row in rows)


def copy(source: Path, to: Path) -> None:
    """Copy a home; preallocated files take no room."""
    subprocess.run(["cp", "-a", "--sparse=always", str(source), str(to)], check=True)


def _refused(lines: list[str]) -> int:
    return sum("is refused" in line for line in lines)


class Cell:
    """One damage to a copy of the home, and everything up to the account."""

    def __init__(self, rig: Rig, base: Base, kind: Kind, damage: str) -> None:
        self.rig, self.base, self.kind, self.damage = rig, base, kind, damage
        self.home = rig.folder / "cell" / "home"
        self.seen = Seen()
        self.recovery = 0.0
        self._paths = damages.found(base.home, kind)

    def is_there(self) -> bool:
        """Make the damaged home; False where there is no such file, or it is as it was."""
        if not self._paths or (self.damage == "exchanged" and len(self._paths) < 2):
            return False
        old = self.base.home / self._paths[0]
        if not (old.is_dir() or old.stat().st_size or self.damage == "removed"):
            return False
        shutil.rmtree(self.home.parent, ignore_errors=True)
        self.home.parent.mkdir()
        copy(self.base.home, self.home)
        self._do()
        path = self.home / self._paths[0]
        return path.is_dir() or not path.exists() or path.read_bytes() != old.read_bytes()

    def _do(self) -> None:
        path = self.home / self._paths[0]
        other = self.home / self._paths[-1]
        if self.damage == "an older copy":
            other = self.base.older / self._paths[0]
        DAMAGES[self.damage](path, other)

    def run(self) -> Account:
        """Start on it, do what an operator is told to do, and account for all."""
        server = self.rig.new_server(self.home, self.base.before, workers=1)
        self._checked()
        try:
            self._life(server)
            self._operator(server)
            self._end(server)
            account = self._account()
            if account.problems:  # a DSN may have been made by the last outcome
                server.launch()
                server.wait(lambda: self._status(server), "does not answer", PATIENCE)
                self._end(server)
        except StuckError as error:
            self.rig.say("stuck" if server.alive() else "ended", str(error))
            if server.process is not None:
                server.kill()
        return self._account()

    def _end(self, server: Server) -> None:
        server.wait(server.is_empty, "does not empty its queue", PATIENCE)
        self.rig.stop()

    def _checked(self) -> None:
        """`mta spool check` names what it finds, and does not fail itself."""
        done = self._tool("spool", "check")
        if done.returncode not in (0, 1) or "Traceback" in done.stderr or "mta:" in done.stderr:
            self.rig.say("check", f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        self.seen.checked = done.returncode == 1

    def _life(self, server: Server) -> None:
        """From the start until nothing moves any more."""
        began = time.monotonic()
        server.launch()
        server.wait(lambda: self._status(server), "does not answer", PATIENCE)
        server.wait(lambda: self._still(server, began), "does not come to rest", PATIENCE)
        status = self._status(server)
        told = [*status["not_ready"], *status["degraded"]]
        self.seen.refused |= any("is refused" in line for line in told)
        reasons = told + [alarm["reason"] for alarm in status["alarms"]]
        self.seen.misnamed |= any(word in line for line in reasons for word in EXCHANGED)
        self.seen.lost |= any("has lost mail" in line for line in told)
        self.seen.held |= any(alarm["alarm"] == "all_held" for alarm in status["alarms"])
        self.seen.waits |= not (self.seen.refused or self.seen.held or server.is_empty())
        self.seen.said |= any(not USUAL.match(line) for line in server.said().splitlines())
        if _refused(told) < SHARDS:
            began = time.monotonic()
            if self.rig.injector.send(2, 10.0) < 2:
                self.rig.say("stuck", "takes no new mail")
            self.recovery = time.monotonic() - began

    def _status(self, server: Server) -> Any:
        with suppress(OSError, RuntimeError):
            return server.ask("status")
        return None

    def _still(self, server: Server, began: float) -> bool:
        """All is sent that can be, or an alarm tells why not."""
        status = self._status(server)
        if status is None:
            return False
        lines = [*status["not_ready"], *status["degraded"]]
        if any("being compared" in line or "is not ready" in line for line in lines):
            return False
        if _refused(lines) == SHARDS or server.is_empty():
            return True
        alarms = {alarm["alarm"] for alarm in status["alarms"]}
        return "all_held" in alarms or bool(alarms & UNREAD) and time.monotonic() > began + SHOWING

    def _operator(self, server: Server) -> None:
        """Do what the server advises."""
        if self.seen.refused or self.seen.waits:
            self.rig.stop()
            if self.seen.misnamed:
                self._do()  # once more: back
            else:
                self._told(self._tool("spool", "repair", "--yes"))
            server.launch()
            server.wait(lambda: self._status(server), "does not answer", PATIENCE)
            server.wait(lambda: self._still(server, time.monotonic()), "does not rest", PATIENCE)
        if self.seen.held:
            self._told(self._tool("queue", "release", "--all", "--yes", own=False))
        status = self._status(server)
        if any("has lost mail" in line for line in status["not_ready"]):
            self._told(self._tool("spool", "accept-loss", "--reason", "a test", own=False))
            status = self._status(server)
        if status["not_ready"] or status["degraded"]:
            text = "; ".join([*status["not_ready"], *status["degraded"]])
            self.rig.say("stuck", f"is not whole after all: {text}")

    def _told(self, done: subprocess.CompletedProcess[str]) -> None:
        if done.returncode:
            self.rig.say("stuck", f"{done.args[3:5]}: {done.stderr.strip()[-300:]}")

    def _tool(self, *arguments: str, own: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mta.cli.main", *arguments, "--home", str(self.home)]
        command += ["--config", str(self.rig.server.config)] if own else []
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def _account(self) -> Account:
        """Of the records that were there before the damage, and those that came."""
        log = LogFiles(self.home / "log")
        records = {json.dumps(one, sort_keys=True): one for one in [*self.base.log, *log.records]}
        union = sorted(records.values(), key=lambda one: int(one["time"]))
        journal, arrivals = self.rig.evidence()
        self._ends(union)
        also = frozenset(self.seen.ends)
        account = checker.check(Evidence(
            journal, arrivals, union, faults=self.rig.server.faults, interval=INTERVAL, also=also,
        ))  # fmt: skip
        account.problems += self.rig.problems
        account.problems += [Problem("traceback", None, t) for t in self.rig.server.tracebacks()]
        expected = _expected(self.kind, self.damage)
        if not damages.fits(self.seen.outcome(), expected):
            text = f"{self.seen.outcome()!r} instead of {expected!r}"
            account.problems.append(Problem("outcome", None, text))
        return account

    def _ends(self, records: list[Record]) -> None:
        """What recipients ended in that their receivers would have taken."""
        found = {one["id"] + one["recipient"] for one in records if one["type"] == "Found"}
        for one in records:
            name = one.get("recipient", "")
            if one["type"] == "Bounce" and not name.startswith("unknown"):
                self.seen.ends.add("Bounce")
            elif one["type"] in ("Lost", "Removed") and one["id"] + name not in found:
                self.seen.ends.add(one["type"])
