"""Worker processes: started, kept, replaced; also where there is no process to be had."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from mta.supervisor import workers
from mta.supervisor.channel import Channel
from mta.supervisor.workers import BACKOFF, Orders, WorkerProcess


class Process:
    """Ends when it is told."""

    pid, returncode = 4711, None

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.code = 0

    async def wait(self) -> int:
        await self.end.wait()
        return self.code

    def kill(self, code: int = -9) -> None:
        self.code = code
        self.end.set()


class Spawner:
    """Starts processes when it may; keeps the other ends of their channels."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.errors: list[OSError] = []  # of the next attempts
        self.processes: list[Process] = []
        self.others: list[socket.socket] = []
        self.started: asyncio.Queue[Process] = asyncio.Queue()

    async def __call__(self, *command: str, **options: Any) -> Process:
        if self.errors:
            raise self.errors.pop(0)
        self.others.append(socket.socket(fileno=os.dup(int(command[-1]))))
        await self.go.wait()
        self.processes.append(Process())
        self.started.put_nowait(self.processes[-1])
        return self.processes[-1]


def orders(number: int) -> Orders:
    return Orders(number, 1, [0], [], 0, [], [], 0, msgspec.Raw(b"{}"))


async def answer(number: int, op: str, args: dict[str, Any]) -> Any:
    return None


class Keeping:
    """A worker that is kept, with pauses that end at once and are remembered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spawner, self.slept, self.said = Spawner(), list[float](), list[str]()
        self.died: list[int] = []
        monkeypatch.setattr(asyncio, "create_subprocess_exec", self.spawner)
        monkeypatch.setattr(workers, "say", self.said.append)
        self.worker = WorkerProcess(0, orders, answer, self.died.append, lambda *began: None)
        real = asyncio.sleep

        async def sleep(seconds: float) -> None:
            if seconds:
                self.slept.append(seconds)
            await real(0)

        monkeypatch.setattr(asyncio, "sleep", sleep)
        self.spawner.go.set()

    async def process(self) -> Process:
        """The next one that is started."""
        return await self.spawner.started.get()

    async def says(self, op: str, **args: Any) -> None:
        """What the newest process says."""
        sock = self.spawner.others[-1]
        sock.send(json.dumps({"op": op, "args": args}).encode() + b"\n")
        await self.worker.settled.wait()

    def run(self, scene: Callable[[], Awaitable[None]]) -> None:
        """Play a scene while the worker is kept."""

        async def play() -> None:
            keeping = asyncio.ensure_future(self.worker.keep())
            await scene()
            self.worker.stopping = True
            self.spawner.processes[-1].kill()
            await keeping
            for sock in self.spawner.others:
                sock.close()

        asyncio.run(play())


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
        spawner.processes[0].end.set()
        await ended
        assert worker.channel is not None
        worker.channel.close()
        reader, writer = await asyncio.open_connection(sock=spawner.others[0])
        lines = (await reader.read()).splitlines()
        writer.close()
        return [json.loads(line)["op"] for line in lines]

    assert asyncio.run(run()) == ["orders", "drain"][: 1 + stopping]


def test_one_that_ends_in_its_first_moments_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Keeping(monkeypatch)

    async def scene() -> None:
        for _ in range(8):
            (await kept.process()).kill()
        await kept.process()
        assert not kept.worker.settled.is_set() and not kept.worker.ready.is_set()
        await kept.says("ready")
        assert await kept.worker.settle()
        assert kept.worker.ready.is_set()

    kept.run(scene)
    assert kept.slept == [*BACKOFF, *[BACKOFF[-1]] * 2]
    assert kept.worker.restarts == 8 and len(kept.died) == 9
    assert kept.said[0] == "worker 0 ended (signal 9), starts again in 0.1 s"


def test_where_no_process_can_be_had_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Keeping(monkeypatch)
    kept.spawner.errors = [
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ]

    async def scene() -> None:
        process = await kept.process()
        kept.spawner.errors = [OSError(errno.EMFILE, "Too many open files")]
        process.kill()
        await kept.process()

    kept.run(scene)
    assert kept.slept == [BACKOFF[0], BACKOFF[1], BACKOFF[0], BACKOFF[0]]
    assert "temporarily unavailable; tried again in 0.1 s" in kept.said[0]
    assert "Cannot allocate memory; tried again in 0.5 s" in kept.said[1]


def test_one_without_a_shard_lives_and_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Keeping(monkeypatch)

    async def scene() -> None:
        await kept.process()
        await kept.says("shards", serving=[], refused=[])
        assert kept.worker.waiting and not kept.worker.ready.is_set()
        assert await kept.worker.settle()
        replacing = asyncio.ensure_future(kept.worker.replace(10))
        await asyncio.sleep(0)
        kept.spawner.processes[-1].kill(0)
        await kept.process()
        assert not kept.worker.waiting and not replacing.done()
        await kept.says("ready")
        assert await replacing and not kept.worker.waiting

    kept.run(scene)
    assert kept.slept == [] and kept.said == []
    assert isinstance(kept.worker.channel, Channel)
