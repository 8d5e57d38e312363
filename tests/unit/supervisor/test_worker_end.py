"""A worker that is starting, and its supervisor dies: it ends without a word."""

from __future__ import annotations

import asyncio
import os
import socket
from types import SimpleNamespace

import pytest

from mta.errors import ControlError
from mta.supervisor import worker


class Gone:
    """A channel whose other end dies when it has given its orders."""

    @classmethod
    async def over(cls, sock: socket.socket, answer: object) -> Gone:
        sock.close()
        await answer("orders", {}, print)  # type: ignore[operator]
        return cls()

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def request(self, op: str, args: object = None) -> None:
        raise ControlError("the process at the other end has gone")


class Starting:
    """A worker that asks for news."""

    def __init__(self, orders: object, channel: Gone) -> None:
        self.orders, self.channel = SimpleNamespace(number=0), channel
        self.stopped = asyncio.Event()

    async def start(self) -> None:
        await self.channel.request("news")


class Waiting(Starting):
    """A worker that waits for its first shard."""

    async def start(self) -> None:
        self.channel.closed.set()
        await asyncio.wait_for(asyncio.Event().wait(), 5)


@pytest.mark.parametrize("starting", [Starting, Waiting])
def test_the_supervisor_dies_while_a_worker_starts(
    monkeypatch: pytest.MonkeyPatch, starting: type[Starting]
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(worker, "Channel", Gone)
    monkeypatch.setattr(worker, "Worker", starting)
    monkeypatch.setattr(worker, "Orders", dict)
    monkeypatch.setattr(os, "_exit", leave)
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(SystemExit, match="1"):
        asyncio.run(worker.main(ours.detach()))
