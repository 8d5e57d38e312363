"""Sessions held open: `python -m bench.clients` reads a `Holding` from its arguments' JSON.

Prints {"open": n, "refused": n} once a second; holds until its input ends or it gets SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import sys
from typing import cast

import msgspec
import uvloop

AHEAD = 64  # connections that may wait for their greeting at a time


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What one process holds."""

    port: int
    sessions: int
    source: str = "127.0.0.1"  # local address
    noops: float = 0.0  # NOOP/s over all sessions; 0: idle


class Client(asyncio.Protocol):
    """One session: EHLO, then silence, or a NOOP now and then."""

    __slots__ = ("_holder", "_transport", "ready")

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._transport: asyncio.Transport | None = None
        self.ready = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """220: EHLO; its last line: ready."""
        if data[:3] == b"220" and self._transport is not None:
            self._transport.write(b"EHLO client.example\r\n")
        elif not self.ready and data[:1] == b"2":
            self.ready = True
            self._holder.opened(self)
        elif not self.ready:
            self._holder.refused += 1

    def connection_lost(self, error: Exception | None) -> None:
        """It counts no longer."""
        self._transport = None
        self._holder.lost(self)

    def noop(self) -> None:
        """Say something."""
        if self._transport is not None:
            self._transport.write(b"NOOP\r\n")


class Holder:
    """All sessions of a process."""

    def __init__(self, holding: Holding) -> None:
        self.holding, self.refused = holding, 0
        self.clients: set[Client] = set()
        self._room = asyncio.Semaphore(AHEAD)

    def opened(self, client: Client) -> None:
        """One more is open."""
        self.clients.add(client)
        self._room.release()

    def lost(self, client: Client) -> None:
        """One less, or one that never was."""
        if client.ready:
            self.clients.discard(client)
        else:
            self._room.release()

    async def open(self) -> None:
        """Connect them all, a few at a time."""
        loop, holding = asyncio.get_running_loop(), self.holding
        for _ in range(holding.sessions):
            await self._room.acquire()
            try:
                await loop.create_connection(
                    lambda: Client(self), "127.0.0.1", holding.port, local_addr=(holding.source, 0)
                )
            except OSError:
                self.refused += 1
                self._room.release()

    async def talk(self) -> None:
        """NOOPs at the rate that is asked for, from one session after the other."""
        left = 0.0
        for client in itertools.chain.from_iterable(map(list, iter(lambda: self.clients, None))):
            client.noop()
            left += 1 / self.holding.noops
            if left > 0.01:
                await asyncio.sleep(left)
                left = 0.0


async def hold(holding: Holding) -> None:
    """Open, hold, tell."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    holder = Holder(holding)
    opening = asyncio.create_task(holder.open())
    talking = None
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.5)
        done = opening.done()
        if done and holding.noops and talking is None and holder.clients:
            talking = asyncio.create_task(holder.talk())
        figures = {"open": len(holder.clients), "refused": holder.refused, "done": done}
        print(json.dumps(figures), flush=True)


def main() -> None:
    """Hold what the argument says."""
    uvloop.run(hold(msgspec.json.decode(sys.argv[1], type=Holding)))


if __name__ == "__main__":
    main()
