"""A loop, a transport and a feeder that tests move by hand."""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from mta import sharedmem
from mta.clock import SystemClock
from mta.delivery.feeder import Attempt, Feeder, NoHand
from mta.model import Message, Recipient
from mta.shaping.gate import Gate
from mta.shaping.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.clock import Clock
    from mta.delivery.decisions import Prepare
    from mta.model import Outcome


def make_gate(limits: Limits | None = None, clock: Clock | None = None) -> Gate:
    """The gate of a node's only worker."""
    fd, table = sharedmem.create(64, 1)
    os.close(fd)
    return Gate(table, 0, limits or Limits(), clock or SystemClock())


class FakeHandle:
    """One call in the future."""

    def __init__(self, when: float, callback: Callable[..., Any]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """Time stands still until `advance`."""

    def __init__(self) -> None:
        self.now = 1000.25
        self.soon: deque[Callable[..., Any]] = deque()
        self.timers: list[FakeHandle] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., Any]) -> None:
        self.soon.append(callback)

    def call_at(self, when: float, callback: Callable[..., Any]) -> FakeHandle:
        self.timers.append(FakeHandle(when, callback))
        return self.timers[-1]

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> FakeHandle:
        return self.call_at(self.now + delay, partial(callback, *args))

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def advance(self, seconds: float) -> None:
        """Let time pass, calling every timer at its time."""
        until = self.now + seconds
        while True:
            self.timers = [timer for timer in self.timers if not timer.cancelled]
            due = min(self.timers, key=lambda timer: timer.when, default=None)
            if due is None or due.when > until:
                break
            self.timers.remove(due)
            self.now = max(self.now, due.when)
            due.callback()
        self.now = until


class FakeTransport:
    """Keeps each write as one entry; closes at once unless `lost` is taken away from it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.end = ""
        self.unsent = 0
        self.lost: Callable[[Exception | None], None] | None = None  # its protocol's

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def writelines(self, pieces: list[bytes]) -> None:
        self.writes.append(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        first, self.end = not self.end, self.end or how
        if first and self.lost is not None:
            self.lost(None)


class FakeFeeder(Feeder):
    """Gives what is in `waiting`, prepared; keeps what it is told."""

    def __init__(self, *attempts: Attempt, prepare: Prepare | None = None) -> None:
        self.prepare = prepare
        self.hand = NoHand()
        self.waiting = deque(attempts)
        self.done: list[tuple[Attempt, list[Outcome]]] = []
        self.told: list[str] = []
        self.end: Outcome | None = None
        self.on: dict[str, Callable[[Any], None]] = {}

    def _tell(self, what: str, conn: Any) -> None:
        self.told.append(what)
        if what in self.on:
            self.on[what](conn)

    def next_attempt(self, conn: Any) -> Attempt | None:
        if "next" in self.on:
            self.on["next"](conn)
        if not self.waiting:
            return None
        attempt = self.waiting.popleft()
        if self.prepare is not None:
            self.prepare.prepare(attempt, conn.offers)
        return attempt

    def attempt_done(self, conn: Any, attempt: Attempt, outcomes: list[Outcome]) -> None:
        self.done.append((attempt, outcomes))
        self._tell("done", conn)

    def connection_ready(self, conn: Any) -> None:
        self._tell("ready", conn)

    def connection_idle(self, conn: Any) -> None:
        self._tell("idle", conn)

    def connection_closed(self, conn: Any, outcome: Outcome | None) -> None:
        self.end = outcome
        self._tell("closed", conn)


def attempt(*to: str, body: bytes = b"x\r\n", flags: int = 0, sender: str = "a@x") -> Attempt:
    message = Message(bytes(16), sender, flags=flags, size=len(body))
    recipients = [Recipient(message, n, address) for n, address in enumerate(to or ["b@y"])]
    return Attempt(message, recipients, body)
