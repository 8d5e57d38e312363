"""What a hook answered for a key, kept and asked again in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from mta.clock import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
RETRY = 5.0  # seconds until a refresh that failed is tried again


class Kept(Generic[Value]):
    """One answer."""

    __slots__ = ("value", "until")

    def __init__(self, value: Value, until: float) -> None:
        self.value, self.until = value, until


class Answers(Generic[Key, Value]):
    """Asks once for each key, whoever wants it; an old answer is used while it is asked anew."""

    def __init__(
        self,
        ask: Callable[[Key], Awaitable[Value]],
        refresh: float,
        clock: Clock,
        size: int = 100_000,
    ) -> None:
        self._ask, self._refresh, self._clock, self._size = ask, refresh, clock, size
        self._kept: dict[Key, Kept[Value]] = {}
        self._asked: dict[Key, asyncio.Task[Value]] = {}

    def peek(self, key: Key) -> Kept[Value] | None:
        """The answer if there is one."""
        kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic() >= kept.until:
            kept.until = self._clock.monotonic() + RETRY
            self._begin(key)
        return kept

    async def get(self, key: Key) -> Value:
        """The answer; HookError where the hook gave none."""
        kept = self.peek(key)
        if kept is not None:
            return kept.value
        return await asyncio.shield(self._asked.get(key) or self._begin(key))

    def _begin(self, key: Key) -> asyncio.Task[Value]:
        task = asyncio.get_running_loop().create_task(self._learn(key))
        self._asked[key] = task
        task.add_done_callback(lambda task: self._ended(key, task))
        return task

    async def _learn(self, key: Key) -> Value:
        value = await self._ask(key)
        if len(self._kept) >= self._size and key not in self._kept:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = Kept(value, self._clock.monotonic() + self._refresh)
        return value

    def _ended(self, key: Key, task: asyncio.Task[Value]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # the runner has told it, and whoever waits gets it

    def close(self) -> None:
        """Ask nothing more."""
        for task in self._asked.values():
            task.cancel()
