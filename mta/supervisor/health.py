"""The pages that monitoring asks for: figures, is it alive, does it take mail."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mta import metrics
from mta.alarms import LOOK_EVERY, Alarms, Trouble
from mta.clock import STABLE, SteadyClock
from mta.config.values import duration_text
from mta.supervisor import figures
from mta.supervisor.http import Answer, HttpServer
from mta.supervisor.state import UNKNOWN
from mta.supervisor.workers import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta.supervisor.master import Supervisor

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Pages over one supervisor."""

    def __init__(self, master: Supervisor) -> None:
        self._master = master
        self.clock = SteadyClock()
        self.alarms = Alarms(self.clock, say)
        self.alarms.checks += [self._silent, self._refused, self._unwritten, self._clock_step]
        self.alarms.checks.append(self._all_held)
        self._told = ""  # to the service manager
        self.server = HttpServer(
            {"/metrics": self.metrics, "/healthz": self.healthz, "/readyz": self.readyz}
        )

    async def metrics(self) -> Answer:
        """The figures of the last second."""
        return Answer(200, await asyncio.to_thread(self._text), EXPOSITION)

    def _text(self) -> bytes:
        return metrics.render(figures.gather(self._master))

    async def healthz(self) -> Answer:
        """503 when a restart would help: a worker that lives has fallen silent."""
        return _verdict([trouble.reason for trouble in self._silent()])

    def _silent(self) -> Iterator[Trouble]:
        for pid in self._master.ledger.silent(time.monotonic()):
            yield Trouble("silent_worker", f"worker process {pid} does not answer")

    def _refused(self) -> Iterator[Trouble]:
        refused = len(self._master.refusals.lines())
        if refused:
            all_of_them = sum(map(len, self._master.shards))
            reason = f"{refused} of {all_of_them} shards cannot be opened: `mta status` says why"
            yield Trouble("refused_shard", reason, refused)

    def _clock_step(self) -> Iterator[Trouble]:
        """Each worker follows its own steady clock; this one tells of it."""
        change = self.clock.look()
        if change.moved:
            say(f"the wall clock was set {_by(change.moved)}: mail follows it")
        if change.missed:
            say(f"{duration_text(round(change.missed))} passed unseen: was the machine suspended?")
        if self.clock.doubted:
            by = _by(self.clock.doubted)
            yield Trouble(
                "clock_step",
                f"the wall clock was set {by}; mail follows when it has stayed so for {STABLE:g} s",
            )

    def _unwritten(self) -> Iterator[Trouble]:
        state = self._master.state
        if not state.whole and state.problem:
            yield Trouble("state_unwritten", state.problem)

    def _all_held(self) -> Iterator[Trouble]:
        if self._master.state.unknown:
            yield Trouble("all_held", f"all mail is held: {UNKNOWN}; `mta queue release --all`")

    async def readyz(self) -> Answer:
        """503 while new mail would be refused or nobody is there to take it, and while mail was
        lost that nobody has accepted.

        A node of which a part does not serve takes mail, and a restart would not mend it: 200,
        and what is missing.
        """
        return _verdict(self.reasons(), self.missing())

    def reasons(self) -> list[str]:
        """Why the node does not take mail; none when it does."""
        master = self._master
        if master.stopping:
            return ["stopping"]
        if not any(worker.ready.is_set() for worker in master.workers):
            return self.missing() + [trouble.reason for trouble in self._unwritten()]
        return master.ledger.problems() + master.ledger.losses()

    def missing(self) -> list[str]:
        """Which parts of the node do not serve."""
        workers, refusals = self._master.workers, self._master.refusals
        idle = [
            worker.number for worker in workers if not (worker.ready.is_set() or worker.waiting)
        ]
        return [f"worker {number} is not ready" for number in idle] + refusals.lines()

    def summary(self) -> str:
        """One line for the service manager."""
        workers = self._master.workers
        ready = sum(worker.ready.is_set() for worker in workers)
        if ready == len(workers):
            return "; ".join([f"taking mail, {ready} workers", *self.missing()])
        return "; ".join([f"taking mail, {ready} of {len(workers)} workers", *self.missing()])

    async def watch(self) -> None:
        """Tell when workers begin to refuse all mail and when they take it again, and of alarms."""
        told = False
        while not self._master.stopping:
            self.alarms.look()
            self._tell_manager()
            problems = self._master.ledger.problems()
            if problems and not told:
                say("new mail is refused: " + "; ".join(dict.fromkeys(problems)))
            elif told and not problems:
                print("new mail is taken again", flush=True)
            told = bool(problems)
            await asyncio.sleep(LOOK_EVERY)

    def _tell_manager(self) -> None:
        """Keep the service manager's line true."""
        summary = self.summary()
        if self._master.announced and summary != self._told:
            self._told = summary
            self._master.notifier.status(summary)


def _by(seconds: float) -> str:
    """How far a clock was set, and whereto."""
    return f"{'back' if seconds < 0 else 'forward'} by {duration_text(round(abs(seconds)))}"


def _verdict(reasons: list[str], missing: list[str] | None = None) -> Answer:
    if reasons:
        return Answer(503, "".join(f"{reason}\n" for reason in reasons).encode())
    degraded = "".join(f"degraded: {part}\n" for part in missing or ())
    return Answer(200, f"ok\n{degraded}".encode())
