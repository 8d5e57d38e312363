"""Each file call of the server fails in turn: once, or from then on until the fault is over.

A scenario is run without a fault, and its calls are counted by area (spool, log, state) and
operation. Then, for each of them, it is run again while that one call fails, and again while all
that are like it fail from then on. Four scenarios:

    steady   mail is taken and delivered, retried and bounced
    start    a server starts on what a clean stop has left, with mail in its queue
    crash    a server starts on what kill -9 has left, with mail in flight
    stop     SIGTERM with mail in flight

When the fault is over the server must take mail and empty its queue by itself, nothing may be lost,
and a stop must end. `-o phase=start/crash -o area=spool -o operation=sync` tries a part.
"""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import time
from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from tests.torture import checker
from tests.torture.checker import Problem
from tests.torture.interpose import AREAS, FAIL, FOREVER, OPERATIONS, SHORT, SLOW, Control, Fault
from tests.torture.letters import Mix
from tests.torture.results import Row
from tests.torture.rig import Before, Rig, StuckError, suspended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.torture.results import Plan
    from tests.torture.rig import Server

ABOUT = "each file call of the server fails in turn"
ROUNDS = 4000  # more than there are: all of them
PATIENCE = 60.0  # seconds that the way back may take
HELD = 2.0  # seconds that a lasting fault goes on
SLOWLY = 300_000  # microseconds
AFTERWARDS = 0.5  # seconds in which what follows the last delivery is done
LETTERS = 8
MIX = Mix(
    {"accept.example": 60, "later.example": 30, "unknown.example": 10},
    {500: 30, 3_000: 30, 20_000: 35, 200_000: 5},
    {1: 70, 2: 20, 5: 10},
)
SETTINGS = '[log]\nsegment_age = "2s"\n'
FLAGS = ("-o", "grace=1s")

ERRORS = {
    "open": (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE),
    "read": (errno.EIO,),
    "write": (errno.EIO, errno.ENOSPC, errno.EROFS),
    "sync": (errno.EIO, errno.ENOSPC),
    "rename": (errno.EIO, errno.ENOSPC, errno.EROFS),
    "unlink": (errno.EIO, errno.EROFS),
    "truncate": (errno.EIO, errno.EROFS),
    "allocate": (errno.ENOSPC, errno.EIO, errno.EOPNOTSUPP),
    "mkdir": (errno.ENOSPC, errno.EIO, errno.EROFS),
    "statfs": (errno.EIO,),
}
OTHERS = {"read": (SHORT,), "write": (SHORT,), "sync": (SLOW,)}
PHASES = ("steady", "start", "crash", "stop")

Counts = dict[tuple[str, str], int]


class Case(NamedTuple):
    """One fault in one scenario."""

    phase: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.phase}, {self.fault}"

    @property
    def lasting(self) -> bool:
        """Whether it goes on."""
        return self.fault.last == FOREVER


def run(plan: Plan) -> list[Row]:
    """Count, choose, fail; a row for each scenario, once and lasting."""
    control = Control(plan.folder)
    with Rig(plan.folder, plan.seed, mix=MIX, settings=SETTINGS, flags=FLAGS,
             environment=control.environment) as rig:  # fmt: skip
        try:
            return _Run(plan, rig, control).run()
        finally:
            control.close()


class _Run:
    def __init__(self, plan: Plan, rig: Rig, control: Control) -> None:
        self.plan, self.rig, self.control = plan, rig, control
        self.phases, self.areas, self.operations = (
            plan.options.get(name, "/".join(every)).split("/")
            for name, every in (("phase", PHASES), ("area", AREAS), ("operation", OPERATIONS))
        )
        self.homes: dict[str, tuple[Path, Before]] = {}
        self.rows = {
            (phase, lasting): Row(f"{phase}: a file call fails, {how}", 0)
            for phase in PHASES
            for lasting, how in ((False, "once"), (True, f"for {HELD:g} s and more"))
        }

    def run(self) -> list[Row]:
        """Everything, the steady scenario first: one server has all of its cases."""
        counts = self._count()
        cases = [case for phase in PHASES for case in self._cases(phase, counts[phase])]
        cases.sort(key=self._turn)
        cases = self._share([case for case in cases if self._wanted(case)])
        calls = ", ".join(f"{sum(found.values())} to {name}" for name, found in counts.items())
        self.plan.tell(f"{len(cases)} cases; calls {calls}")
        self._steady([case for case in cases if case.phase == "steady"])
        for case in cases:
            if case.phase != "steady":
                self._timed(case, self._stop if case.phase == "stop" else self._start)
        return [row for row in self.rows.values() if row.rounds]

    def _turn(self, case: Case) -> float:
        """At random by the seed, but the same however many calls there are."""
        return random.Random(f"{self.plan.seed} {case}").random()

    def _wanted(self, case: Case) -> bool:
        [area], [operation] = case.fault.areas, case.fault.operations
        return case.phase in self.phases and area in self.areas and operation in self.operations

    def _share(self, cases: list[Case]) -> list[Case]:
        """As many as rounds are wanted: the same of each phase and area."""
        by: defaultdict[tuple[object, ...], defaultdict[object, list[Case]]]
        by = defaultdict(lambda: defaultdict(list))
        for case in cases:
            by[case.phase, case.fault.areas][case.lasting, case.fault.operations].append(case)
        return _in_turn(*(_in_turn(*group.values()) for group in by.values()))[: self.plan.rounds]

    def _cases(self, phase: str, counts: Counts) -> Iterator[Case]:
        for (area, operation), count in counts.items():
            kinds = [Fault(FAIL, error) for error in ERRORS[operation]]
            kinds += [Fault(kind, microseconds=SLOWLY) for kind in OTHERS.get(operation, ())]
            for number in range(1, count + 1):
                for kind in kinds:
                    for last in (number, FOREVER):
                        yield Case(phase, kind._replace(
                            areas=(area,), operations=(operation,), first=number, last=last,
                        ))  # fmt: skip

    def _timed(self, case: Case, scenario: Callable[[Case], list[str]]) -> None:
        """One case with its row."""
        row, began = self.rows[case.phase, case.lasting], time.monotonic()
        row.rounds, known = row.rounds + 1, len(self.rig.recoveries)
        hits = scenario(case)
        row.seconds += time.monotonic() - began
        row.recovery = max([row.recovery, *self.rig.recoveries[known:]])
        self.plan.tell(f"{case}: {hits[0] if hits else 'not reached'}")

    # -- counting, and the homes that cases begin with

    def _count(self) -> dict[str, Counts]:
        """The calls of each scenario without a fault."""
        found, server = {}, self.rig.server
        server.start()
        found["steady"] = self._counted(self._traffic)
        self._interrupt("crash", server.kill)
        found["crash"] = self._counted(server.start)
        self.rig.drain()
        self._interrupt("start", server.stop)
        found["start"] = self._counted(server.start)
        began = time.time()
        with suspended(self.rig.sink.process):
            self.rig.injector.send(LETTERS, PATIENCE)
            found["stop"] = self._counted(server.stop)
        server.faults.append(checker.Fault("a stop without replies", began, time.time()))
        server.start()
        return found

    def _counted(self, what: Callable[[], object]) -> Counts:
        before = self.control.counts()
        what()
        after = self.control.counts()
        return {key: after[key] - before[key] for key in after if after[key] > before[key]}

    def _traffic(self) -> None:
        self.rig.injector.send(LETTERS, PATIENCE)
        self.rig.drain(PATIENCE)
        time.sleep(AFTERWARDS)

    def _interrupt(self, name: str, end: Callable[[], object]) -> None:
        """End the server with mail in its queue and in flight, and keep a copy of its home."""
        began = time.time()
        with suspended(self.rig.sink.process):
            self.rig.injector.send(LETTERS, PATIENCE)
            time.sleep(0.3)
            end()
        self.rig.server.faults.append(checker.Fault("an end without replies", began, time.time()))
        time.sleep(0.3)  # what was in the sockets still arrives
        self._copy(name)

    def _copy(self, name: str) -> None:
        journal, arrivals = self.rig.evidence()
        to = self.plan.folder / name
        _copy(self.rig.server.home, to)
        self.homes[name] = to, Before(journal, arrivals, list(self.rig.server.faults))

    # -- scenarios

    def _steady(self, cases: list[Case]) -> None:
        """One server for all; what the checker says is told by the numbers of the messages."""
        firsts = []
        for case in cases:
            firsts.append((self.rig.injector.last + 1, case))
            self._timed(case, self._fail_steady)
        account = self.rig.settle()
        self.plan.tell(f"steady: {account}")
        for problem in account.problems:
            mine = [case for first, case in firsts if problem.number and first <= problem.number]
            self._found(mine[-1] if mine else None, problem)
        row = self.rows["steady", False]
        row.recipients, row.duplicated = account.recipients, account.second

    def _found(self, case: Case | None, problem: Problem) -> None:
        row = self.rows[case.phase if case else "steady", bool(case and case.lasting)]
        row.problems += 1
        row.lost += problem.kind in checker.LOST
        row.found.append(f"[{case}] {problem}" if case else str(problem))

    def _fail_steady(self, case: Case) -> list[str]:
        rig, before = self.rig, self.rig.server.pids()
        began = time.time()
        self.control.arm(case.fault)
        rig.injector.send(LETTERS, HELD if case.lasting else PATIENCE)
        try:
            hits = self._held(case, rig.server.is_empty, AFTERWARDS)
            rig.recover(PATIENCE)
            rig.injector.send(2, PATIENCE)
            rig.drain(PATIENCE)
        except StuckError as error:
            hits = self.control.disarm()
            rig.blame(StuckError(f"[{case}: {hits[:1]}] {error}"))
            rig.server.wait_greeting(PATIENCE)
        if rig.server.pids() != before:
            rig.server.faults.append(checker.Fault("a worker ended", began, time.time()))
        return hits

    def _start(self, case: Case) -> list[str]:
        """Start on a home of before, with a fault from the first call on."""
        server = self._server(case.phase)
        self.control.arm(case.fault)
        server.launch()
        return self._judge(case, self._held(case, server.greets))

    def _stop(self, case: Case) -> list[str]:
        """Stop with mail in flight."""
        server, began = self._server("start"), time.time()
        try:
            server.start(PATIENCE)
            with suspended(self.rig.sink.process):
                self.rig.injector.send(LETTERS, PATIENCE)
                self.control.arm(case.fault)
                server.stop(PATIENCE)
            # What had its dot behind it, and no reply within `grace`, is sent again.
            server.faults.append(checker.Fault("a stop without replies", began, time.time()))
        except StuckError as error:
            self.rig.say("stuck", str(error))
            server.kill()
        hits = self.control.disarm()
        server.launch()
        return self._judge(case, hits)

    def _server(self, name: str) -> Server:
        saved, before = self.homes[name]
        home = self.plan.folder / "case" / "home"
        shutil.rmtree(home.parent, ignore_errors=True)
        _copy(saved, home)
        return self.rig.new_server(home, before)

    def _held(self, case: Case, done: Callable[[], object], more: float = 0.0) -> list[str]:
        """Wait for the fault, or until it will not come any more; a lasting one goes on a while.

        `more`: seconds after `done` in which it may yet come.
        """
        deadline, ended = time.monotonic() + PATIENCE, False
        while not self.control.failed and self.rig.server.alive():
            if not ended and done():
                deadline, ended = time.monotonic() + more, True
            if time.monotonic() >= deadline:
                break
            time.sleep(0.02)
        if case.lasting and self.control.failed:
            time.sleep(HELD)
        return self.control.disarm()

    def _judge(self, case: Case, hits: list[str]) -> list[str]:
        """The way back, and the account of this case alone."""
        rig = self.rig
        if not rig.server.alive():
            rig.say("ended", f"by itself: {rig.server.last_words()}")
            rig.server.kill()
            rig.server.launch()
        try:
            rig.recover(PATIENCE)
            rig.injector.send(2, PATIENCE)
        except StuckError as error:
            rig.blame(error)
        account = rig.settle(PATIENCE)
        row = self.rows[case.phase, case.lasting]
        row.recipients += account.recipients
        row.duplicated += account.second
        for problem in account.problems:
            self._found(case, problem._replace(text=f"{problem.text} (at {hits[:1]})"))
        return hits


def _in_turn(*groups: list[Case]) -> list[Case]:
    """One of each, then the next of each."""
    return [case for cases in zip_longest(*groups) for case in cases if case is not None]


def _copy(home: Path, to: Path) -> None:
    """A copy whose holes stay holes, with the output that it began with."""
    to.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--sparse=always", str(home), str(to)], check=True)
