"""Mail that is ready and is not sent though nothing is in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.alarms import Trouble
from mta.queues.manager import KEPT_BODIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta.delivery.dispatcher import Dispatcher
    from mta.delivery.pool import Pool

AFTER = 60.0  # seconds


class StuckPools:
    """A check (`mta.alarms`) over the ready queues of a worker."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._since: dict[Pool, float] = {}  # loop time since when a pool could send and did not

    def __call__(self) -> Iterator[Trouble]:
        """The alarm `not_sent`."""
        dispatcher, now = self._dispatcher, self._dispatcher.loop.time()
        idle = [pool for pool in dispatcher.pools if self._could_send(pool)]
        self._since = {pool: self._since.get(pool, now) for pool in idle}
        for pool, since in self._since.items():
            still = now - max(since, pool.moved_at)
            if still >= AFTER:
                text = f"mail for {pool.ready.name} has room in its limits and was not sent"
                yield Trouble("not_sent", f"{text} for {still:.0f} s: {pool!r}", pool.count())

    def _could_send(self, pool: Pool) -> bool:
        """True when mail waits in a pool and none of what may keep it is there."""
        dispatcher = self._dispatcher
        if dispatcher.draining or not pool.waiting():
            return False
        manager = dispatcher.manager
        short = manager.body_bytes > KEPT_BODIES * manager.settings.body_memory
        preparing = pool.prepared is not None and pool.prepared.working > 0
        busy = pool.in_flight or pool.dialling or pool.reading or preparing
        held_up = pool.paced is not None or pool.waits or short
        return not (busy or held_up or pool.rested_until > dispatcher.clock.monotonic())
