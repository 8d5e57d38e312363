"""When a pool is worked again, on uvloop's own timers."""

from __future__ import annotations

from types import SimpleNamespace

import uvloop

from mta.delivery.dispatcher import Dispatcher


def test_the_earliest_time_holds() -> None:
    loop = uvloop.new_event_loop()
    woken = []
    dispatcher = SimpleNamespace(loop=loop, _look_again=woken.append)
    pool = SimpleNamespace(again=None, again_at=0.0)
    try:
        Dispatcher.look_again(dispatcher, pool, 60)
        Dispatcher.look_again(dispatcher, pool, 0)  # a handle without a time, in uvloop
        at = pool.again_at
        Dispatcher.look_again(dispatcher, pool, 30)
        assert pool.again_at == at
        loop.run_until_complete(_turn())
        assert woken == [pool]
    finally:
        loop.close()


async def _turn() -> None:
    """One turn of the loop."""
