"""One crash run: rounds of load and kills, a drain, the comparison, a report."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from mta.maillog import reader
from tests.crash.injector import Injector
from tests.crash.rig import CrashServer, SinkProcess
from tests.crash.verdict import Bounds, Judge, Verdict
from tests.waiting import PATIENCE, wait

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = ("worker", "everything", "supervisor", "starting")
WEIGHTS = (50, 25, 10, 15)
LIFE = (0.1, 2.0)  # seconds from one kill to the next
IN_A_ROW = 3  # kills of workers; more would only wait for the supervisor's back-off
STARTING = (0.0, 1.5)  # seconds of a start that is killed


@dataclass
class Plan:
    """What to do."""

    folder: Path
    rounds: int = 50
    seed: int = 1
    workers: int = 2
    rate: float = 150.0  # messages a second
    bounds: Bounds = Bounds()
    only: str = ""  # one kind of kill instead of all
    least: int = 0  # messages acknowledged, however long that takes
    drain: float = PATIENCE  # seconds that the queue has to empty in the end

    def kinds(self, chance: random.Random) -> list[str]:
        """What is killed in each round; the first rounds have one of each kind."""
        if self.only:
            return [self.only] * self.rounds
        kinds = list(KINDS[: self.rounds])
        kinds += chance.choices(KINDS, WEIGHTS, k=self.rounds - len(kinds))
        chance.shuffle(kinds)
        for at in range(IN_A_ROW, len(kinds)):
            if set(kinds[at - IN_A_ROW : at + 1]) == {"worker"}:
                kinds[at] = "everything"
        return kinds


@dataclass
class Result:
    """What came of it."""

    verdict: Verdict
    kills: dict[str, int]
    deferred: int
    restarts: list[float]  # seconds from a start after a kill to ready
    load_seconds: float
    drain_seconds: float

    def lines(self) -> list[str]:
        """The report."""
        v = self.verdict
        lead, what = max(v.leads, default=(0.0, "none"))
        kills = ", ".join(f"{count} {what}" for what, count in sorted(self.kills.items()))
        finals = ", ".join(f"{count:,} {kind}" for kind, count in sorted(v.finals.items()))
        return [
            f"kills         {kills}",
            f"acknowledged  {v.messages:,} messages, {v.recipients:,} recipients"
            f" in {self.load_seconds:.0f} s; {self.deferred:,} replies 4xx",
            f"unknown       {v.unknown:,} messages lost their reply,"
            f" {v.unknown_stored:,} of them are stored;"
            f" {v.torn:,} that were stored half are set aside",
            f"records       {finals}; {v.failures:,} TransientFailure; {v.dsns:,} DSNs",
            f"arrived       {v.copies:,} copies, {v.duplicates:,} second copies,"
            f" replied to at most {lead * 1000:.0f} ms before the kill ({what})",
            f"restarts      {len(self.restarts)} of the whole, ready after"
            f" {median(self.restarts or [0]):.2f} s, at most {max(self.restarts, default=0):.2f} s",
            f"drained       in {self.drain_seconds:.0f} s",
            f"problems      {len(v.problems)}",
        ]


def run(plan: Plan, tell: Callable[[str], None] = lambda line: None) -> Result:
    """Run it; AssertionError when something does not start, stop or drain."""
    chance = random.Random(plan.seed)
    plan.folder.mkdir(parents=True, exist_ok=True)
    sink = SinkProcess(plan.folder)
    server = CrashServer(plan.folder, sink, plan.workers, plan.bounds.interval)
    injector = Injector(server.port, plan.seed, plan.rate)
    try:
        sink.wait_ready()
        server.start()
        began = time.monotonic()
        injector.start()
        restarts = _rounds(plan, chance, server, injector, tell)
        wait(lambda: len(injector.promises) >= plan.least, "too little is taken")
        injector.finish()
        loaded = time.monotonic()
        server.wait_drained(plan.drain)
        drained = time.monotonic()
        _stop(server)
        server.start()  # nothing comes back from a spool that is empty
        server.wait_drained(plan.drain)
        _stop(server)
        arrivals = sink.stop()
    finally:
        injector.finish()
        if server.process is not None:
            server.kill()
        sink.kill()
    verdict = Judge(plan.seed, server.kills, plan.bounds).judge(
        injector.promises, injector.unknown, reader.read_all(server.home / "log"), arrivals
    )
    verdict.problems[:0] = injector.faults + tracebacks(server.said())
    kinds = [kill.what for kill in server.kills]
    counts = {what: kinds.count(what) for what in set(kinds)}
    return Result(
        verdict, counts, injector.deferred, restarts, loaded - began, drained - loaded
    )  # fmt: skip


def _rounds(
    plan: Plan,
    chance: random.Random,
    server: CrashServer,
    injector: Injector,
    tell: Callable[[str], None],
) -> list[float]:
    """Kill at random moments; the seconds that each restart of everything took."""
    restarts = []
    for number, kind in enumerate(plan.kinds(chance), 1):
        time.sleep(chance.uniform(*LIFE))
        if kind == "worker":
            while not server.kill_worker(chance):
                time.sleep(0.02)
        else:
            if kind == "supervisor":
                server.kill_supervisor()
            else:
                server.kill_everything()
            if kind == "starting":
                server.kill_while_starting(chance.uniform(*STARTING))
            began = time.monotonic()
            server.start()
            restarts.append(time.monotonic() - began)
        tell(f"round {number}: killed {kind}; {len(injector.promises):,} messages acknowledged")
    return restarts


def _stop(server: CrashServer) -> None:
    code = server.stop()
    assert code == 0, f"the server ended with {code}:\n{server.said()[-4000:]}"


def tracebacks(said: str) -> list[str]:
    """What the server printed that no user should see."""
    lines = said.splitlines()
    return [
        "the server printed: " + " | ".join(lines[at : at + 30])
        for at, line in enumerate(lines)
        if line.startswith("Traceback")
    ][:5]
