"""The node's state on a disk that is full or fails: what is read late, what is written late."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from mta.errors import MailraceError
from mta.supervisor.state import StateError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mta.supervisor.state import NodeState

AGAIN = 5.0  # seconds until a disk that did not give or take the state is asked again


async def learn(
    read: Callable[[], None],
    stop: asyncio.Event,
    say: Callable[[str], None],
    again: float = AGAIN,
) -> None:
    """Read what must be known before any mail leaves, however long that takes, or until a stop."""
    told = ""
    while not stop.is_set():
        try:
            return await asyncio.to_thread(read)
        except (StateError, OSError) as error:
            if str(error) != told:
                told = str(error)
                say(f"{told}; no mail is sent before that can be read, which is tried again")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), again)
    return None


async def written(write: Callable[[], None], again: float = AGAIN) -> None:
    """Write something down when the disk takes it."""
    while True:
        try:
            return await asyncio.to_thread(write)
        except StateError:
            await asyncio.sleep(again)


async def mend(
    state: NodeState,
    say: Callable[[str], None],
    tell: Callable[[str], None],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Write down what the disk did not take, for ever; tell when it fails and when it is well."""
    told = ""
    while True:
        problem = "" if state.whole else await _mended(state)
        if problem and problem != told:
            say(f"{problem}; operators' acts are refused until it can be written")
        elif told and not problem:
            tell(f"{state.path} is written again")
        told = problem
        await sleep(AGAIN)


async def _mended(state: NodeState) -> str:
    """Try; why it failed, or ""."""
    try:
        await asyncio.to_thread(state.mend)
    except MailraceError as error:
        return str(error)
    return ""
