"""A connection whose messages a coroutine hands over, with a feeder moved by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from mta.delivery.deadlines import Deadlines
from mta.delivery.feeder import Attempt
from mta.delivery.transports.handover import HandoverConnection
from mta.model import Kind, Outcome, Peer
from tests.unit.delivery.fakes import FakeFeeder, FakeLoop, attempt
from tests.waiting import PATIENCE

TAKEN = Outcome(Kind.DELIVERED, 0, "2.0.0", "taken", "fake")


class Handler:
    """Takes each message when `go` is set."""

    kind = "fake"

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None
        self.started = 0
        self.cancelled = 0

    async def deliver(self, attempt: Attempt) -> list[Outcome]:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return [TAKEN] * len(attempt.recipients)


class Rig:
    """The connection, living in a task."""

    def __init__(self, *attempts: Attempt, max_messages: int = 0) -> None:
        self.feeder, self.handler, self.clock = FakeFeeder(*attempts), Handler(), FakeLoop()
        self.made = HandoverConnection(
            self.feeder,
            asyncio.get_running_loop(),
            self.handler,
            Peer("fake:out", "", ""),
            Deadlines(self.clock),
            max_messages,
            5.0,
        )
        self.task = asyncio.create_task(self.made.connect("fake:out", 0))

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def end(self) -> None:
        await asyncio.wait({self.task}, timeout=PATIENCE)
        assert self.task.done()


def run(scenario: Any) -> None:
    asyncio.run(scenario())


def test_it_takes_what_there_is_then_waits_and_is_kicked() -> None:
    async def scenario() -> None:
        rig = Rig(attempt("a@b", "c@d"), attempt())
        await rig.settle()
        assert rig.feeder.told == ["ready", "done", "done", "idle"]
        assert rig.feeder.done[0][1] == [TAKEN, TAKEN]
        rig.feeder.waiting.append(attempt())
        rig.made.kick()
        await rig.settle()
        assert rig.feeder.told[4:] == ["done", "idle"]
        rig.made.close()
        await rig.end()
        assert rig.feeder.told[-1] == "closed"
        assert rig.feeder.end is None

    run(scenario)


def test_a_kick_while_busy_or_ended_is_nothing() -> None:
    async def scenario() -> None:
        rig = Rig(attempt())
        rig.handler.go.clear()
        await rig.settle()
        rig.made.kick()
        await rig.settle()
        assert rig.feeder.told == ["ready"]
        rig.made.close()
        rig.handler.go.set()
        await rig.end()
        rig.made.kick()
        assert rig.feeder.told == ["ready", "done", "closed"]

    run(scenario)


def test_closed_by_the_feeder_while_it_is_asked() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.feeder.on["next"] = lambda made: made.close()
        await rig.end()
        assert rig.feeder.told == ["ready", "closed"]

    run(scenario)


def test_closed_by_the_feeder_as_idle() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.feeder.on["idle"] = lambda made: made.close()
        await rig.end()
        assert rig.feeder.told == ["ready", "idle", "closed"]

    run(scenario)


def test_it_ends_after_its_messages() -> None:
    async def scenario() -> None:
        rig = Rig(attempt(), attempt(), attempt(), max_messages=2)
        await rig.end()
        assert rig.feeder.told == ["ready", "done", "done", "closed"]

    run(scenario)


def test_idle_for_too_long() -> None:
    async def scenario() -> None:
        rig = Rig()
        await rig.settle()
        assert rig.made.armed > 0
        rig.made.expired()
        await rig.end()
        assert rig.feeder.told == ["ready", "idle", "closed"]

    run(scenario)


def test_dropped_while_handing_over() -> None:
    async def scenario() -> None:
        rig = Rig(attempt("a@b", "c@d"))
        rig.handler.go.clear()
        await rig.settle()
        rig.made.abort()
        assert rig.feeder.told == ["ready", "done", "closed"]  # at once: the shards close next
        [(_, outcomes)] = rig.feeder.done
        assert [(o.kind, o.command) for o in outcomes] == [(Kind.DEFERRED, "fake")] * 2
        rig.task.cancel()
        await rig.end()
        assert rig.handler.cancelled == 1
        assert rig.feeder.told == ["ready", "done", "closed"]

    run(scenario)


def test_cancelled_while_handing_over() -> None:
    async def scenario() -> None:
        rig = Rig(attempt())
        rig.handler.go.clear()
        await rig.settle()
        rig.task.cancel()
        await rig.end()
        assert rig.feeder.told == ["ready", "done", "closed"]
        assert rig.feeder.done[0][1][0].kind == Kind.DEFERRED

    run(scenario)


def test_an_error_of_ours_loses_nothing() -> None:
    async def scenario() -> None:
        rig = Rig(attempt())
        rig.handler.error = ValueError("a bug")
        await rig.end()
        assert isinstance(rig.task.exception(), ValueError)
        assert rig.feeder.done[0][1][0].kind == Kind.DEFERRED
        assert rig.feeder.told == ["ready", "done", "closed"]

    run(scenario)
