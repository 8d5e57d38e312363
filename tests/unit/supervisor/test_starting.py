"""When a start is over, and what is told until then."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from mta.supervisor import starting
from mta.supervisor.starting import first_ready


class Worker:
    """Settles and serves as it is told."""

    def __init__(self) -> None:
        self.ready, self.settled = asyncio.Event(), asyncio.Event()

    async def settle(self) -> bool:
        await self.settled.wait()
        return True


class Start:
    """A start that is under way, of so many workers."""

    def __init__(self, workers: int) -> None:
        self.workers: list[Any] = [Worker() for _ in range(workers)]
        self.stop, self.told, self.first = asyncio.Event(), 0, asyncio.Event()
        self.task = asyncio.ensure_future(first_ready(self.workers, self.stop, self._tell))

    def _tell(self) -> None:
        self.told += 1
        self.first.set()

    async def turns(self) -> bool:
        """Whether it is over after some turns of the loop."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.task.done()


def test_it_is_over_when_all_have_come_to_something() -> None:
    async def run() -> None:
        start = Start(3)
        await start.first.wait()
        start.workers[1].settled.set()  # refused, or dead: no reason to be over
        assert not await start.turns() and start.told == 1
        start.workers[0].ready.set()
        start.workers[0].settled.set()
        assert not await start.turns()
        start.workers[2].settled.set()
        assert await start.task

    asyncio.run(run())


def test_a_stop_in_the_middle_is_no_error() -> None:
    errors: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, what: errors.append(what))
        start = Start(2)
        await start.first.wait()
        start.stop.set()
        assert not await start.task
        del start
        for _ in range(10):
            await asyncio.sleep(0)
        gc.collect()

    asyncio.run(run())
    assert errors == []


def test_one_that_takes_long_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "COMPANY", 0)

    async def run() -> None:
        start = Start(2)
        start.workers[1].ready.set()
        start.workers[1].settled.set()
        assert await start.task

    asyncio.run(run())


def test_it_is_told_again_and_again_that_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "TELL_EVERY", 0)

    async def run() -> None:
        start = Start(1)
        start.workers[0].settled.set()
        while start.told < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        start.stop.set()
        assert not await start.task

    asyncio.run(run())


@pytest.mark.parametrize("serves", [False, True])
def test_a_stop_ends_it(serves: bool) -> None:
    async def run() -> None:
        start = Start(2)
        if serves:
            start.workers[0].ready.set()
            assert not await start.turns()
        start.stop.set()
        assert not await start.task

    asyncio.run(run())
