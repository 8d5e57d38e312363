"""Worker processes as the supervisor sees them: started, asked, restarted with back-off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from mta.supervisor.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BACKOFF = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)  # seconds before the n-th restart in a row
HEALTHY_AFTER = 60.0  # seconds of life that forget earlier crashes
STARTING = 20.0  # seconds after which a worker that still opens its shards is mentioned

# glibc raises this by itself with the first large content that is freed, up to 32 MB, and then
# keeps what later ones leave behind: a peak would stay. Fixed, contents go back to the system.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1000000"}


class Orders(msgspec.Struct):
    """What a worker is told when it starts."""

    number: int
    workers: int
    shards: list[int]
    listeners: list[int]  # one socket's descriptor per listener of the configuration
    table: int  # descriptor of the shared table
    wakers: list[int]  # eventfd of every worker, by number
    inboxes: list[int]  # where connections are handed to, by worker
    inbox: int  # where this one takes them out
    config: msgspec.Raw
    hooks: str = ""  # the text of the hook file


class WorkerProcess:
    """One worker number and the process that holds it now."""

    def __init__(
        self,
        number: int,
        orders: Callable[[int], Orders],
        handler: Callable[[int, str, dict[str, Any]], Awaitable[Any]],
        died: Callable[[int], None],
        began: Callable[[int, int], None],
    ) -> None:
        self.number = number
        self._orders, self._handler, self._died = orders, handler, died
        self._began = began
        self.process: asyncio.subprocess.Process | None = None
        self.channel: Channel | None = None
        self.ready = asyncio.Event()  # it serves
        self.settled = asyncio.Event()  # its start has come to something: see `settle`
        self.waiting = False  # it lives, but all of its shards are refused
        self.restarts = 0
        self.stopping = False
        self._began_anew = asyncio.Event()
        self._starts = asyncio.Lock()
        self.leaving = False  # it was asked to end, to be replaced

    async def start(self) -> None:
        """Start a process and hand it its descriptors; `settle` waits for its word."""
        async with self._starts:
            channel = await self._start()
            if self.is_stopping():  # the stop came meanwhile, and told the one before
                channel.notify("drain", grace=0)
        self._began_anew.set()

    async def _start(self) -> Channel:
        orders = self._orders(self.number)
        ours, theirs = socket.socketpair()
        passed = [theirs.fileno(), orders.table, *orders.listeners, *orders.wakers]
        passed += [*orders.inboxes, orders.inbox]
        self.settled.clear()
        try:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mta.supervisor.worker", str(theirs.fileno()),
                pass_fds=passed, stdin=asyncio.subprocess.DEVNULL, env=MALLOC | os.environ,
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._began(self.number, self.process.pid)
        ours.setblocking(False)
        self.channel = channel = await Channel.over(ours, self._answer)
        channel.notify("orders", **msgspec.structs.asdict(orders))
        return channel

    async def _answer(self, op: str, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        if op == "ready":
            self.waiting = False
            self.ready.set()
            self.settled.set()
        elif op == "shards" and not args["serving"]:
            self.waiting = True
            self.settled.set()
        return await self._handler(self.number, op, args)

    async def keep(self) -> None:
        """Have a process run until `stopping`: start one, and another whenever it ends."""
        crashes = 0
        loop = asyncio.get_running_loop()
        await self._start_somehow()
        while not self.stopping:
            assert self.process is not None
            began = loop.time()
            code = await self.process.wait()
            self.ready.clear()
            self.waiting = False
            self.settled.set()
            self._died(self.number)
            if self.is_stopping():
                return
            if self.leaving:
                await self._start_somehow()
                continue
            crashes = 0 if loop.time() - began > HEALTHY_AFTER else crashes + 1
            wait = backoff(crashes)
            say(f"worker {self.number} ended ({ending(code)}), starts again in {wait:g} s")
            await asyncio.sleep(wait)
            if not self.is_stopping():
                self.restarts += 1
                await self._start_somehow()

    async def _start_somehow(self) -> None:
        """Start a process, however often that fails."""
        self.leaving = False
        failures = 0
        while not self.stopping:
            try:
                return await self.start()
            except OSError as error:  # no process or descriptor can be had
                failures += 1
                wait = backoff(failures)
                why = error.strerror or error
                say(f"worker {self.number} cannot be started: {why}; tried again in {wait:g} s")
                self.settled.set()
                await asyncio.sleep(wait)
        return None

    async def ended(self) -> None:
        """Wait until the process is gone; one that is being started is waited for, too."""
        async with self._starts:
            process = self.process
        if process is not None:
            await process.wait()

    def is_stopping(self) -> bool:
        """True when no further process is to be started."""
        return self.stopping

    async def settle(self) -> bool:
        """Wait until the process serves, waits for a shard, or has ended; whether it lives."""
        while not self.settled.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.settled.wait(), STARTING)
            if not self.settled.is_set():
                say(f"worker {self.number} still opens its shards")
        return self.ready.is_set() or self.waiting

    async def replace(self, grace: float) -> bool:
        """Let the process end as at a stop, and start another; True when that has settled.

        One that does not end within `grace` and 10 s is killed: nothing is lost.
        """
        process = self.process
        if self.channel is None or process is None or not (self.ready.is_set() or self.waiting):
            return False
        self.leaving = True
        self._began_anew.clear()
        self.channel.notify("drain", grace=grace, away=True)
        try:
            await asyncio.wait_for(process.wait(), grace + 10)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await process.wait()
        await self._began_anew.wait()  # `keep` starts the next one
        return await self.settle()

    def signal(self, number: int) -> None:
        """Send a signal to the process if it lives."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return BACKOFF[min(max(failures, 1), len(BACKOFF)) - 1]


def say(text: str) -> None:
    """A line for the operator."""
    print(text, file=sys.stderr, flush=True)


def ending(code: int) -> str:
    """How a process ended, from its return code."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
