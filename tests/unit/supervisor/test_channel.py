"""Requests between supervisor and worker, and how they go wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mta.errors import ControlError
from mta.supervisor.channel import Channel
from mta.supervisor.faults import Faults
from tests.waiting import PATIENCE

Handler = Callable[[str, dict[str, Any], Callable[[Any], None]], Awaitable[Any]]


def talk(handler: Handler, work: Callable[[Channel], Awaitable[None]]) -> list[str]:
    """Let `work` ask a handler at the other end; what the loop was told of errors."""
    told: list[str] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: told.append(str(context["exception"]))
        )
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        other = await Channel.over(theirs, handler)
        channel = await Channel.over(ours, _nothing)
        async with asyncio.timeout(PATIENCE):
            await work(channel)
        channel.close()
        other.close()

    asyncio.run(run())
    return told


async def _nothing(op: str, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
    return None


def test_parts_and_a_result() -> None:
    async def handler(op: str, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        part(1)
        part(2)
        return {op: args}

    async def work(channel: Channel) -> None:
        parts: list[Any] = []
        assert await channel.request("op", {"a": 1}, parts.append) == {"op": {"a": 1}}
        assert parts == [1, 2]

    assert talk(handler, work) == []


def test_an_unexpected_error_is_an_answer_and_reported() -> None:
    async def handler(op: str, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        raise KeyError("missing")

    async def work(channel: Channel) -> None:
        with pytest.raises(ControlError, match="KeyError"):
            await channel.request("op")

    assert talk(handler, work) == ["'missing'"]


def test_a_request_whose_asker_has_gone_is_cancelled() -> None:
    ended = asyncio.Event()

    async def handler(op: str, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        part("begun")
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def work(channel: Channel) -> None:
        begun = asyncio.Event()
        task = asyncio.ensure_future(channel.request("op", part=lambda part: begun.set()))
        await begun.wait()
        task.cancel()
        await ended.wait()

    assert talk(handler, work) == []


def test_who_waits_for_a_process_that_dies_is_told() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        channel = await Channel.over(ours, _nothing)
        task = asyncio.ensure_future(channel.request("op"))
        await asyncio.sleep(0)
        theirs.close()
        with pytest.raises(ControlError, match="has gone"):
            await task

    asyncio.run(run())


def test_an_error_is_one_line_and_its_traceback_a_file(tmp_path: Path) -> None:
    said: list[str] = []
    faults = Faults("worker 7", tmp_path / "worker-7.err", said.append)

    async def run() -> None:
        faults.watch(asyncio.get_running_loop())
        for number in range(3):
            asyncio.get_running_loop().call_soon(_fail, number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert said == [f"worker 7: ValueError: broken 0 (see {tmp_path / 'worker-7.err'})"]
    text = (tmp_path / "worker-7.err").read_text()
    assert text.count("Traceback") == 3 and text.count("ValueError: broken") == 3


def _fail(number: int) -> None:
    raise ValueError(f"broken\n{number}")
