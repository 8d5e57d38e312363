"""A connection without a wire: messages are handed over by a coroutine, one after the other.

To the dispatcher it is a connection like others: it asks for its next attempt at each message
boundary, waits idle, is kicked, closed and dropped, and counts against the same limits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from mta.delivery.feeder import Connection
from mta.model import Kind, Outcome, Peer

if TYPE_CHECKING:
    from mta.delivery.deadlines import Deadlines
    from mta.delivery.feeder import Attempt, Feeder

__all__ = ["HandoverConnection", "Handler"]

EVERYTHING = -1  # every bit of `smtp.client.Capability`: any content can be handed over


class Handler(Protocol):
    """A way to hand messages over; many connections share it."""

    kind: str
    """What it is called in outcomes."""

    async def deliver(self, attempt: Attempt) -> list[Outcome]:
        """One outcome for each recipient, in order."""
        ...


class HandoverConnection(Connection):
    """A connection whose handler takes one message after the other."""

    __slots__ = (
        "_feeder", "_loop", "_handler", "_deadlines", "_max_messages", "_idle_timeout", "_taken",
        "_waiter", "_attempt", "_closing", "_ended",
    )  # fmt: skip

    def __init__(
        self,
        feeder: Feeder,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        peer: Peer,
        deadlines: Deadlines,
        max_messages: int,
        idle_timeout: float,
    ) -> None:
        super().__init__()
        self.local, self.overlap_failed, self.offers = None, False, EVERYTHING
        self._feeder, self._loop, self._handler, self.peer = feeder, loop, handler, peer
        self._deadlines, self._idle_timeout = deadlines, idle_timeout
        self._max_messages, self._taken = max_messages, 0
        self._waiter: asyncio.Future[None] | None = None  # while idle
        self._attempt: Attempt | None = None  # under way
        self._closing = self._ended = False

    def __repr__(self) -> str:
        state = "busy" if self._attempt else "idle" if self._waiter else "open"
        return f"<HandoverConnection {self.peer.name}: {state}, {self._taken} messages>"

    # For the dispatcher

    async def connect(
        self, host: str, port: int, local_addr: tuple[str, int] | None = None
    ) -> None:
        """Live: take messages from the feeder until a limit or `close`."""
        try:
            self._feeder.connection_ready(self)
            while not (self._closing or 0 < self._max_messages <= self._taken):
                attempt = self._feeder.next_attempt(self)
                if attempt is not None:
                    await self._hand_over(attempt)
                elif not self._closing:
                    await self._idle()
        finally:
            self._end("handing the message over was broken off")

    def kick(self) -> None:
        """There may be something to hand over: ask for it if idle."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """End at the next message boundary."""
        self._closing = True
        self.kick()

    def abort(self) -> None:
        """End now; what is under way is unknown."""
        self._closing = True
        self._end("dropped by us while it was handed over, delivery is unknown")
        self.kick()

    def expired(self) -> None:
        """Idle for long enough (from the wheel)."""
        if self._waiter is not None:
            self.close()

    # Within

    async def _hand_over(self, attempt: Attempt) -> None:
        self._attempt, self._taken = attempt, self._taken + 1
        attempt.mail_at = self._loop.time()
        outcomes = await self._handler.deliver(attempt)
        if not self._ended:
            self._done(attempt, outcomes)

    def _done(self, attempt: Attempt, outcomes: list[Outcome]) -> None:
        self._attempt = None
        attempt.transfer_us = int((self._loop.time() - attempt.mail_at) * 1e6)
        self._feeder.attempt_done(self, attempt, outcomes)

    async def _idle(self) -> None:
        self._waiter = self._loop.create_future()
        self.deadline = self._loop.time() + self._idle_timeout
        self._deadlines.add(self)
        try:
            self._feeder.connection_idle(self)
            await self._waiter
        finally:
            self._waiter = None
            self._deadlines.remove(self)

    def _end(self, why: str) -> None:
        """Tell the feeder, once."""
        if self._ended:
            return
        self._ended = True
        attempt = self._attempt
        if attempt is not None:
            outcome = Outcome(Kind.DEFERRED, 0, "4.3.0", why, self._handler.kind)
            self._done(attempt, [outcome] * len(attempt.recipients))
        self._feeder.connection_closed(self, None)
