"""What all sessions of a worker share (compiled)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from mta.reception.reception import Reception
from mta.smtpd.limits import SessionLimits
from mta.smtpd.timeouts import Deadlines, Seconds

READ_SIZE = 65_536  # octets of one read
SMALL = 4096  # the same while memory for content is tight


class Loop(Protocol):
    """What smtpd asks of the event loop by itself."""

    def time(self) -> float:
        """The loop's clock, seconds."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> object:
        """Run the callback in so many seconds."""
        ...


class Terms:
    """What the sessions of a listener go by; a reload changes it under them."""

    __slots__ = ("reception", "seconds")

    def __init__(self, reception: Reception, seconds: Seconds) -> None:
        self.reception, self.seconds = reception, seconds


class Service:
    """One receive buffer, one deadline wheel, the session limits and numbers of a worker."""

    __slots__ = (
        "buffer", "_buffers", "deadlines", "limits", "accepted", "refused", "timed_out",
        "starved", "_prefix",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        limits: SessionLimits | None = None,
        *,
        worker: int = 0,
        started: int | None = None,
    ) -> None:
        # Each read is given to its session's core at once, so one buffer serves all sessions.
        self._buffers = bytearray(READ_SIZE), bytearray(SMALL)
        self.buffer = self._buffers[0]
        self.deadlines = Deadlines(loop.time, loop.call_later)
        self.limits = limits if limits is not None else SessionLimits()
        self.accepted = 0  # sessions taken since the start
        self.refused = 0  # turned away by a limit
        self.timed_out = 0  # ended by a deadline
        self.starved = 0  # times that accepting paused for want of descriptors
        self._prefix = f"{int(time.time()) if started is None else started:x}-{worker:x}-"

    def read_small(self, small: bool) -> None:
        """Read little at once from now on, or as much as ever."""
        self.buffer = self._buffers[small]

    def starve(self) -> None:
        """A connection could not be taken for want of descriptors."""
        self.starved += 1

    def next_id(self) -> str:
        """The text that names a session: start, worker, count; unique on the node."""
        self.accepted += 1
        return f"{self._prefix}{self.accepted:x}"
