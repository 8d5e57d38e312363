"""Records on their way to the event hook: in order, from a cursor, none but synced ones."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mta.hooks.runner import Hooks
from mta.maillog.writer import LogWriter
from mta.supervisor.events import EventPump
from mta.testing.clock import FakeClock
from tests.waiting import PATIENCE


class Bench:
    """A log, a hook that notes what it gets, and pumps between them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.given = folder, list[int]()
        self.log = LogWriter(
            folder / "log" / "shard-0000", segment_bytes=1, segment_age=60.0, retain_bytes=0,
            retain_age=0.0, level=1, clock=FakeClock(),
        )  # fmt: skip
        self.synced = self.log.position

    def write(self, *numbers: int) -> None:
        lines = [json.dumps({"type": "Delivery", "time": n}).encode() for n in numbers]
        self.log.append(lines)
        self.synced = self.log.position

    async def run(self, count: int) -> None:
        """A pump until the hook has got so many records, then its end."""
        arrived = asyncio.Event()

        async def event(record: dict[str, Any]) -> None:
            self.given.append(record["time"])
            if len(self.given) >= count:
                arrived.set()

        bench = self
        log_end = type("End", (), {"position": property(lambda self: bench.synced)})()
        shard: Any = SimpleNamespace(number=0, log_end=log_end)
        pump = EventPump(shard, self.folder / "log", self.folder / "hooks", Hooks({"event": event}))
        pump.start()
        if count > len(self.given):
            await asyncio.wait_for(arrived.wait(), PATIENCE)
        await pump.stop()


def test_it_begins_at_the_end_and_goes_on_at_the_cursor(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(1, 2)
    asyncio.run(bench.run(0))
    bench.write(3)  # each in a segment of its own
    bench.write(4, 5)
    asyncio.run(bench.run(3))
    assert bench.given == [3, 4, 5]
    bench.write(6)
    asyncio.run(bench.run(4))
    assert bench.given == [3, 4, 5, 6]


def test_what_is_not_synced_waits(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    asyncio.run(bench.run(0))
    bench.write(1)
    synced = bench.synced
    bench.write(2)
    bench.synced = synced
    asyncio.run(bench.run(1))
    assert bench.given == [1]


def test_a_cursor_that_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(1)
    (tmp_path / "hooks").mkdir()
    file = tmp_path / "hooks" / "events-0000.json"
    file.write_text("nonsense")
    asyncio.run(bench.run(0))
    bench.write(2)
    asyncio.run(bench.run(1))
    assert bench.given == [2]
