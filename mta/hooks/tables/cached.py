"""What every table is to its users, and the cache before those that ask a server."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from mta.clock import Clock
from mta.errors import TableError


class Table(Protocol):
    """A table."""

    async def get(self, key: str) -> str | None:
        """The value of a key, None if it has none; TableError when that cannot be known now."""
        ...

    async def close(self) -> None:
        """Give up connections; the table is not used any more."""
        ...


class Source(Protocol):
    """What is asked behind the cache."""

    async def look(self, key: str) -> str | None:
        """The value of a key, None if it has none; any exception is a failure."""
        ...

    async def close(self) -> None:
        """Give up connections."""
        ...


class BlockingLook(Protocol):
    """A driver that blocks: called in several threads, each with a connection of its own."""

    def look(self, key: str) -> str | None:
        """The value of a key, None if it has none."""
        ...


class Threaded:
    """A source over a blocking driver: at most `threads` look-ups at once, the rest in line."""

    def __init__(self, driver: BlockingLook, name: str, threads: int) -> None:
        self._driver = driver
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"table-{name}")

    async def look(self, key: str) -> str | None:
        """As the driver's, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._driver.look, key)

    async def close(self) -> None:
        """Start nothing more; connections end with their threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class CachedTable:
    """Asks its source once for a key at a time and keeps the answer, also that there is none."""

    def __init__(
        self, name: str, source: Source, clock: Clock, *, ttl: float, size: int, timeout: float
    ) -> None:
        self.name, self._source, self._clock = name, source, clock
        self._ttl, self._size, self._timeout = ttl, size, timeout
        self._kept: dict[str, tuple[float, str | None]] = {}  # until when, and the value
        self._asked: dict[str, asyncio.Task[str | None]] = {}

    async def get(self, key: str) -> str | None:
        """As `Table.get`."""
        kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic() < kept[0]:
            return kept[1]
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.get_running_loop().create_task(self._ask(key))
            task.add_done_callback(lambda task: self._ended(key, task))
        return await asyncio.shield(task)  # others may wait for it, too

    async def _ask(self, key: str) -> str | None:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                value = await self._source.look(key)
        except Exception as error:  # noqa: BLE001 - each driver has its own kinds
            if limit.expired():
                raise TableError(self.name, f"no answer within {self._timeout:g} s") from None
            raise TableError(self.name, f"{type(error).__name__}: {error}") from error
        if self._ttl:
            self._kept.pop(key, None)
            if len(self._kept) >= self._size:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self._clock.monotonic() + self._ttl, value
        return value

    def _ended(self, key: str, task: asyncio.Task[str | None]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waits gets it

    async def close(self) -> None:
        """As `Table.close`."""
        for task in list(self._asked.values()):
            task.cancel()
        await self._source.close()
