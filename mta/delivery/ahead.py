"""Contents that are prepared ahead in a thread, for decisions with a member that takes long.

A parcel that its turn brings is chosen, and prepared for what the servers of its pool offer; it
counts as in flight for acts, which follow when it comes back. Its tokens are taken when a
connection takes it. A pool has a few more of them than connections, so that each finds one at its
message boundary and leaves the next envelope with the final dot.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from mta.spool.aside import Aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.delivery.decider import Decider
    from mta.delivery.decisions import Prepare
    from mta.delivery.feeder import Attempt
    from mta.delivery.pool import Pool

BEYOND = 4  # contents prepared for a pool beyond one for each of its connections


class Ready:
    """What is prepared for a pool."""

    __slots__ = ("attempts", "working")

    def __init__(self) -> None:
        self.attempts: deque[Attempt] = deque()
        self.working = 0  # in the thread

    def __len__(self) -> int:
        return len(self.attempts) + self.working


class Ahead:
    """Prepares in one thread, which begins with the first content."""

    __slots__ = ("_decider", "_thread")

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._thread: Aside | None = None

    def next_attempt(self, pool: Pool, offers: int) -> Attempt | None:
        """A prepared attempt, its tokens taken; None while there is none."""
        decider, ready = self._decider, self._of(pool)
        self._fill(pool, ready, offers)
        while ready.attempts:
            attempt = ready.attempts.popleft()
            if attempt.offers != offers:  # this server is not like the one before
                decider.come_back(attempt.tag)
                self._fill(pool, ready, offers)
            elif self._is_stale(attempt):
                decider.come_back(attempt.tag)
            elif decider.may_leave(pool, attempt.tag):
                return attempt
            elif pool.rests():
                break
        return None

    def _is_stale(self, attempt: Attempt) -> bool:
        """Whether acts, or the end of its time, have reached it since it was chosen."""
        manager = self._decider.manager
        now = manager.ports.clock.wall_us()
        return any(
            one.orders or one.expires_us <= now and not manager.missed(one.expires_us)
            for one in attempt.recipients
        )

    def undo(self, pool: Pool) -> None:
        """Put everything back into its lane."""
        ready = pool.prepared
        if ready is not None:
            pool.prepared = None
            while ready.attempts:
                self._decider.come_back(ready.attempts.pop().tag)

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def _wake(self, done: Callable[[], None]) -> None:
        self._decider.loop.call_soon_threadsafe(done)

    def _of(self, pool: Pool) -> Ready:
        if pool.prepared is None:
            pool.prepared = Ready()
        return pool.prepared

    def _fill(self, pool: Pool, ready: Ready, offers: int) -> None:
        decider = self._decider
        while len(ready) < len(pool.connections) + BEYOND:
            parcel = decider.next_parcel(pool)
            if parcel is None:
                return
            attempt = decider.attempt(parcel, offers)
            for recipient in attempt.recipients:
                recipient.flying = True
            ready.working += 1
            if self._thread is None:
                self._thread = Aside("mta-prepare", self._wake)
            members = decider.decisions.prepare
            self._thread.work(partial(self._prepare, pool, ready, members, attempt))

    def _prepare(
        self, pool: Pool, ready: Ready, members: list[Prepare], attempt: Attempt
    ) -> Callable[[], None]:
        """In the thread."""
        try:
            for member in members:
                member.prepare(attempt, attempt.offers)
        except Exception as error:  # noqa: BLE001 - it is that message's outcome
            attempt.failure = f"{type(error).__name__}: {error}"
        return partial(self._prepared, pool, ready, attempt)

    def _prepared(self, pool: Pool, ready: Ready, attempt: Attempt) -> None:
        ready.working -= 1
        decider = self._decider
        if attempt.failure:
            decider.unprepared(pool, attempt)
        elif pool.prepared is not ready:  # `undo` came before
            decider.come_back(attempt.tag)
        else:
            ready.attempts.append(attempt)
        decider.wake(pool.ready)
