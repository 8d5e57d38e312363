"""The pages that monitoring asks for: figures, is it alive, does it take mail."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mta import metrics
from mta.supervisor import figures
from mta.supervisor.http import Answer, HttpServer
from mta.supervisor.workers import say

if TYPE_CHECKING:
    from mta.supervisor.master import Supervisor

WATCH_EVERY = 2.0  # seconds between two looks at whether mail is taken
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Pages over one supervisor."""

    def __init__(self, master: Supervisor) -> None:
        self._master = master
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
        silent = self._master.ledger.silent(time.monotonic())
        return _verdict([f"worker process {pid} does not answer" for pid in silent])

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
        """Tell when workers begin to refuse all mail, and when they take it again."""
        told = False
        while True:
            await asyncio.sleep(WATCH_EVERY)
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
