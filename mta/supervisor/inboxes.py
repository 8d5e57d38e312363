"""The workers' inboxes for connections, as the supervisor keeps them (`mta.smtpd.handover`).

What waits for a worker that is gone, or hangs, is passed on to the others: what its inbox holds,
and what the kernel gave to its listening sockets. Where no worker serves, it gets 421.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING

from mta._speedups.verdict import Reason, Verdict
from mta.smtpd.handover import SESSIONS, STOPPED, accept, pair, receive, send, turn_away

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from mta._speedups.sharedtable import SharedTable
    from mta.clock import Clock

UNAVAILABLE = Verdict(421, "4.3.0", "Mail cannot be taken now, try again later", Reason.STOPPING)
RELIEF = 1.0, 0.05  # seconds between looks at what waits for a worker that hangs: none, some
PATIENCE = 10.0  # seconds without a worker until those who wait are refused
ROUND = 128  # connections passed on from one place before the loop does something else


class Inboxes:
    """Both ends of every worker's inbox, open for the life of the node."""

    def __init__(self, table: SharedTable, workers: int, clock: Clock) -> None:
        self._table, self._slot, self._clock = table, table.slot(SESSIONS), clock
        pairs = [pair() for _ in range(workers)]
        self._to, self._out = [to for to, _ in pairs], [out for _, out in pairs]
        self.to = [to.fileno() for to in self._to]
        self.out = [out.fileno() for out in self._out]

    def died(self, worker: int) -> None:
        """Pass on what a worker that has ended did not take out; alone, its successor will."""
        self._pass_on(worker, partial(self._take_out, worker), 1 << 16)

    def relieve(self, listeners: Sequence[Sequence[socket.socket]]) -> int:
        """Pass on what waits for workers that give no sign of life; how much that was.

        `listeners` are the listening sockets, by listener, then worker.
        """
        passed, living = 0, self._table.living(self._clock.monotonic())
        for worker in (worker for worker, alive in enumerate(living) if not alive):
            passed += self._pass_on(worker, partial(self._take_out, worker), ROUND)
            for number, sockets in enumerate(listeners):
                passed += self._pass_on(worker, partial(accept, number, sockets[worker]), ROUND)
        return passed

    async def watch(
        self,
        listeners: Sequence[Sequence[socket.socket]],
        waiting: Callable[[], int],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Relieve workers for ever; refuse what waits while no worker serves.

        `waiting()` is how many workers live but have no shard: if all, none is about to serve.
        """
        deserted = 0.0  # seconds, in looks: after a suspension the workers get theirs
        while True:
            moved, idle = self.relieve(listeners), waiting()
            if not any(self._table.living(self._clock.monotonic())):
                if deserted >= PATIENCE or idle == len(self._out):
                    moved += self.turn_away(listeners)
            else:
                deserted = 0.0
            pause = RELIEF[moved > 0 or idle > 0]
            await sleep(pause)
            deserted += pause

    def turn_away(self, listeners: Sequence[Sequence[socket.socket]]) -> int:
        """Refuse for now whatever waits: nobody serves; how much that was."""
        refused = 0
        for worker in range(len(self._out)):
            refused += _refuse(partial(self._take_out, worker))
            for number, sockets in enumerate(listeners):
                refused += _refuse(partial(accept, number, sockets[worker]))
        return refused

    def _take_out(self, worker: int) -> tuple[bytes, int] | None:
        found = receive(self._out[worker])
        if found is not None:
            self._table.handed(worker)
        return found

    def _pass_on(self, worker: int, take: Callable[[], tuple[bytes, int] | None], most: int) -> int:
        """Hand what `take` gives to the other workers, at most so many; how many there were."""
        for count in range(most):
            target = self._table.hand_to(self._slot, worker, self._clock.monotonic(), True)
            if target < 0:
                return count
            found = take()
            if found is None or found[1] < 0:
                self._table.handed(target)
                if found is None:
                    return count
            elif send(self._to[target], *found):
                os.close(found[1])
            else:
                self._table.handed(target)
                turn_away(found[1], STOPPED)
        return most

    def close(self) -> None:
        """No worker is left: tell those who wait so."""
        for out in self._out:
            while (found := receive(out)) is not None:
                if found[1] >= 0:
                    turn_away(found[1], STOPPED)
            out.close()
        for to in self._to:
            to.close()


def _refuse(take: Callable[[], tuple[bytes, int] | None]) -> int:
    """Turn away what `take` gives, some at a time; how many there were."""
    for count in range(ROUND):
        found = take()
        if found is None:
            return count
        if found[1] >= 0:
            turn_away(found[1], UNAVAILABLE)
    return ROUND
