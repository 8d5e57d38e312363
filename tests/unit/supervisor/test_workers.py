"""A worker's process that is started while the node is being stopped."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import Any

import msgspec
import pytest

from mta.supervisor.workers import Orders, WorkerProcess


class Process:
    """Ends when it is told."""

    pid, returncode = 4711, None

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def wait(self) -> int:
        await self.end.wait()
        return 0


class Spawner:
    """Starts a process when it may; keeps the other end of its channel."""

    def __init__(self) -> None:
        self.go, self.process = asyncio.Event(), Process()

    async def __call__(self, *command: str, **options: Any) -> Process:
        self.other = socket.socket(fileno=os.dup(int(command[-1])))
        await self.go.wait()
        return self.process


def orders(number: int) -> Orders:
    return Orders(number, 1, [0], [], 0, [], [], 0, msgspec.Raw(b"{}"))


async def answer(number: int, op: str, args: dict[str, Any]) -> Any:
    return None


@pytest.mark.parametrize("stopping", [False, True])
def test_a_stop_reaches_a_process_that_is_being_started(
    stopping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> list[str]:
        spawner = Spawner()
        monkeypatch.setattr(asyncio, "create_subprocess_exec", spawner)
        worker = WorkerProcess(0, orders, answer, lambda number: None, lambda *began: None)
        start = asyncio.create_task(worker.start())
        await asyncio.sleep(0)
        worker.stopping = stopping
        ended = asyncio.create_task(worker.ended())
        await asyncio.sleep(0)
        assert not ended.done()  # although there is no process yet
        spawner.go.set()
        await start
        await asyncio.sleep(0)
        assert not ended.done()
        spawner.process.end.set()
        await ended
        assert worker.channel is not None
        worker.channel.close()
        reader, writer = await asyncio.open_connection(sock=spawner.other)
        lines = (await reader.read()).splitlines()
        writer.close()
        return [json.loads(line)["op"] for line in lines]

    assert asyncio.run(run()) == ["orders", "drain"][: 1 + stopping]
