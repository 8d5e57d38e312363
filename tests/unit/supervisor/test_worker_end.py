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

    async def request(self, op: str, args: object = None) -> None:
        raise ControlError("the process at the other end has gone")


class Starting:
    """A worker that asks for news."""

    def __init__(self, orders: object, channel: Gone) -> None:
        self.orders, self._channel = SimpleNamespace(number=0), channel

    async def start(self) -> None:
        await self._channel.request("news")


def test_the_supervisor_dies_while_a_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(worker, "Channel", Gone)
    monkeypatch.setattr(worker, "Worker", Starting)
    monkeypatch.setattr(worker, "Orders", dict)
    monkeypatch.setattr(os, "_exit", leave)
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(SystemExit, match="1"):
        asyncio.run(worker.main(ours.detach()))
