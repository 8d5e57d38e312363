"""The pages that monitoring asks for: figures, is it alive, does it take mail."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mta import metrics
from mta.alarms import LOOK_EVERY, Alarms, Trouble
from mta.clock import SystemClock
from mta.supervisor import figures
from mta.supervisor.http import Answer, HttpServer
from mta.supervisor.workers import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta.supervisor.master import Supervisor

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Pages over one supervisor."""

    def __init__(self, master: Supervisor) -> None:
        self._master = master
        self.alarms = Alarms(SystemClock(), say)
        self.alarms.checks.append(self._silent)
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

    async def readyz(self) -> Answer:
        """503 while new mail would be refused or nobody is there to take it."""
        return _verdict(self.reasons())

    def reasons(self) -> list[str]:
        """Why the node does not take mail; none when it does."""
        master = self._master
        if master.stopping:
            return ["stopping"]
        missing = [w.number for w in master.workers if not w.ready.is_set()]
        return [f"worker {number} is not ready" for number in missing] + master.ledger.problems()

    async def watch(self) -> None:
        """Tell when workers begin to refuse all mail and when they take it again, and of alarms."""
        told = False
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.alarms.look()
            problems = self._master.ledger.problems()
            if problems and not told:
                say("new mail is refused: " + "; ".join(dict.fromkeys(problems)))
            elif told and not problems:
                print("new mail is taken again", flush=True)
            told = bool(problems)


def _verdict(reasons: list[str]) -> Answer:
    if reasons:
        return Answer(503, "".join(f"{reason}\n" for reason in reasons).encode())
    return Answer(200, b"ok\n")
