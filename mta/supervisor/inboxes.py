"""The workers' inboxes for connections, as the supervisor keeps them (`mta.smtpd.handover`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mta.smtpd.handover import SESSIONS, STOPPED, pair, receive, send, turn_away

if TYPE_CHECKING:
    from mta._speedups.sharedtable import SharedTable
    from mta.clock import Clock


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
        for _ in range(1 << 16):
            target = self._table.hand_to(self._slot, worker, self._clock.monotonic(), True)
            if target < 0:
                return
            found = receive(self._out[worker])
            if found is None or found[1] < 0:
                self._table.handed(target)
                if found is None:
                    return
                continue
            label, fd = found
            if not send(self._to[target], label, fd):
                self._table.handed(target)
                turn_away(fd, STOPPED)
            else:
                os.close(fd)

    def close(self) -> None:
        """No worker is left: tell those who wait so."""
        for out in self._out:
            while (found := receive(out)) is not None:
                if found[1] >= 0:
                    turn_away(found[1], STOPPED)
            out.close()
        for to in self._to:
            to.close()
