"""The node's start: over when a worker serves; what others lack does not hold it up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mta.supervisor.home import HomeTroubleError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mta.supervisor.home import Home
    from mta.supervisor.workers import WorkerProcess

COMPANY = 5.0  # seconds that the first worker which serves waits for others to get as far
AGAIN = 5.0  # seconds until locks that could not be taken are tried again
TELL_EVERY = 10.0  # seconds between two words on what is missing


async def take_home(
    home: Home,
    say: Callable[[str], None],
    tell: Callable[[str, float], None],
    again: float = AGAIN,
) -> None:
    """Take the locks, however long a disk or a lack of descriptors does not give them.

    `tell(reason, seconds)`: the service manager has to wait for so long.
    """
    told = ""
    while True:
        try:
            return home.prepare()
        except HomeTroubleError as error:
            if str(error) != told:
                told = str(error)
                say(f"{told}; nothing is served before that is possible, which is tried again")
            tell(told, 3 * TELL_EVERY)
            await asyncio.sleep(again)


async def first_ready(
    workers: Sequence[WorkerProcess], stop: asyncio.Event, tell: Callable[[], None]
) -> bool:
    """Wait for a worker that serves, a moment for the others; False when a stop came first.

    `tell()` is called now and then while there is none.
    """
    stopped = asyncio.ensure_future(stop.wait())
    ready = [asyncio.ensure_future(worker.ready.wait()) for worker in workers]
    settled = asyncio.gather(*(worker.settle() for worker in workers))
    watched: list[asyncio.Future[Any]] = [stopped, *ready]
    try:
        while not any(one.done() for one in watched):
            tell()
            await asyncio.wait(watched, timeout=TELL_EVERY, return_when=asyncio.FIRST_COMPLETED)
        both: list[asyncio.Future[Any]] = [stopped, settled]
        await asyncio.wait(both, timeout=COMPANY, return_when=asyncio.FIRST_COMPLETED)
        return not stopped.done()
    finally:
        for one in (*watched, settled):
            one.add_done_callback(lambda done: done.cancelled() or done.exception())
            one.cancel()
