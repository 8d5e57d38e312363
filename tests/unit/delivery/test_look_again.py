"""When a pool is worked again, on uvloop's own timers; what a dispatcher lets it do."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import uvloop

from mta.clock import SystemClock
from mta.delivery.dispatcher import Dispatcher
from mta.delivery.feeder import Connection
from mta.delivery.pool import Dial, Pool
from mta.model import Message
from tests.unit.delivery.fakes import make_gate


class Ready:
    """An empty ready queue that counts how often it is looked at."""

    name, source, count, looked = "site", "default", 0, 0

    def waiting(self) -> int:
        self.looked += 1
        return 0


def make(loop: asyncio.AbstractEventLoop) -> tuple[Dispatcher, Pool, Ready]:
    """A dispatcher that is not to do more than to look."""
    nothing = cast("Any", None)
    dispatcher = Dispatcher(
        loop,
        SystemClock(),
        cast("Any", SimpleNamespace(finish=nothing)),
        gate=make_gate(),
        hosts=nothing,
        targets=nothing,
        connection=nothing,
        read_bodies=nothing,
        no_overlap=nothing,
    )
    ready = Ready()
    return dispatcher, Pool(dispatcher, cast("Any", ready)), ready


def test_the_earliest_time_holds() -> None:
    loop = uvloop.new_event_loop()
    dispatcher, pool, ready = make(loop)
    try:
        dispatcher.look_again(pool, 60)
        dispatcher.look_again(pool, 0)  # a handle without a time, in uvloop
        at = pool.again_at
        dispatcher.look_again(pool, 30)
        assert pool.again_at == at
        loop.run_until_complete(_turns())
        assert ready.looked == 1
        assert pool.again is None
    finally:
        loop.close()


async def _turns() -> None:
    """Some turns of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_content_at_a_time_goes_beyond_the_budget() -> None:
    loop = uvloop.new_event_loop()
    try:
        dispatcher, pool, ready = make(loop)
    finally:
        loop.close()
    other, first = Pool(dispatcher, cast("Any", ready)), Message(bytes(16), "s@x")
    assert dispatcher.exceed(pool, first)
    pool.reading = 1
    assert not dispatcher.exceed(other, Message(bytes(16), "s@x")), "it is being read"
    pool.reading, first.body = 0, b"x"
    assert not dispatcher.exceed(other, Message(bytes(16), "s@x")), "it is in memory"
    first.body = None
    assert dispatcher.exceed(other, Message(bytes(16), "s@x"))


def test_nothing_is_begun_while_outcomes_could_not_be_kept() -> None:
    loop = uvloop.new_event_loop()
    dispatcher, pool, ready = make(loop)
    dispatcher.pools.add(pool)
    try:
        dispatcher.hold(True)
        dispatcher.look_again(pool, 0)
        loop.run_until_complete(_turns())
        assert ready.looked == 0
        assert dispatcher.next_attempt(connection(pool)) is None
        dispatcher.hold(False)
        loop.run_until_complete(_turns())
        assert ready.looked == 1
    finally:
        loop.close()


def connection(pool: Pool) -> Connection:
    """One of a pool's."""
    made = Connection()
    made.dial = Dial(pool, cast("Any", SimpleNamespace(outcome=None)), 0.0)
    return made


def test_a_drain_is_not_ended_by_the_end_of_a_hold() -> None:
    loop = uvloop.new_event_loop()
    try:
        dispatcher, _, _ = make(loop)
    finally:
        loop.close()
    dispatcher.hold(True)
    dispatcher.drain()
    dispatcher.hold(False)
    assert dispatcher.halted
