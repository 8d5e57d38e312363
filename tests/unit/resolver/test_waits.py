from __future__ import annotations

import asyncio

from mta.resolver.waits import Waits


class Waiting:
    """Tells of itself when its time is over."""

    def __init__(self, told: asyncio.Queue[Waiting]) -> None:
        self._told = told

    def expired(self) -> None:
        self._told.put_nowait(self)

    def cancel(self) -> None:
        raise AssertionError("it is nobody's task here")


def test_those_whose_time_has_come_are_told_once_and_in_order() -> None:
    async def run() -> None:
        told: asyncio.Queue[Waiting] = asyncio.Queue()
        waits, (one, two, three, four, five) = Waits(), [Waiting(told) for _ in range(5)]
        for waiting in (one, two, three, four):
            waits.add(waiting, 0.0)
        waits.add(five, 3600)
        waits.add(one, 3600)  # anew
        waits.discard(two)
        assert [await told.get(), await told.get()] == [three, four]
        assert len(waits) == 2 and waits.clear() == [five, one]
        waits.add(two, 0.0)
        assert await told.get() is two
        assert len(waits) == 0

    asyncio.run(run())


def test_it_serves_one_loop_after_another() -> None:
    waits = Waits()

    async def forgotten() -> None:
        one = Waiting(asyncio.Queue())
        waits.add(one, 3600)
        waits.discard(one)

    async def run() -> None:
        one = Waiting(told := asyncio.Queue())
        waits.add(one, 0.0)
        assert await told.get() is one

    asyncio.run(forgotten())
    asyncio.run(run())
