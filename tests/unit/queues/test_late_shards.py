"""A shard that serves later than the others of its worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mta.maillog.records import RecordWriter
from mta.model import Where
from mta.queues.acts import Verb
from mta.queues.census import Census
from mta.queues.loader import Loader
from mta.queues.sweeper import Sweeper
from mta.testing.spool import SpoolBench
from tests.unit.queues.desk import Desk

Make = Callable[..., Desk]


@pytest.fixture
def late(tmp_path: Path) -> Iterator[SpoolBench]:
    """Shard 2, with a message."""
    bench = SpoolBench(tmp_path / "late", number=2)
    bench.stored("old@b.example")
    yield bench
    bench.close()


def join(desk: Desk, late: SpoolBench) -> None:
    desk.manager.add_shard(late.shard, RecordWriter("node.example", 2, desk.clock))
    desk.manager.acts.cover([late.shard])


async def turns(*benches: SpoolBench) -> None:
    for _ in range(20):
        for bench in benches:
            bench.commit()
        await asyncio.sleep(0)


def test_an_act_is_swept_when_the_shard_that_was_missing_is(make: Make, late: SpoolBench) -> None:
    desk = make()
    desk.accept("new@b.example")
    desk.manager.missing.add(2)
    desk.clock.advance(1)
    act = desk.act(Verb.DELETE, all=True)

    async def run() -> None:
        sweeper = Sweeper(desk.manager, desk._site_of, None, desk.told_swept)  # type: ignore[arg-type]
        sweeper.begin([act])
        await turns(desk.bench, late)
        assert desk.swept == [] and desk.ends() == {"Removed": 1}
        join(desk, late)
        sweeper.extend(late.shard)
        await turns(desk.bench, late)
        assert desk.swept == [act.sequence]
        assert late.shard.scan(b"", 10)[0] == []

    asyncio.run(run())


def test_a_shard_that_joins_in_mid_sweep_is_swept_too(make: Make, late: SpoolBench) -> None:
    """It is told once, when both have been."""
    desk = make()
    desk.accept("new@b.example")
    desk.manager.missing.add(2)
    desk.clock.advance(1)
    act = desk.act(Verb.DELETE, all=True)

    async def run() -> None:
        sweeper = Sweeper(desk.manager, desk._site_of, None, desk.told_swept)  # type: ignore[arg-type]
        sweeper.begin([act])
        join(desk, late)
        sweeper.extend(late.shard)
        await turns(desk.bench, late)
        assert desk.swept == [act.sequence]
        assert desk.ends() == {"Removed": 1} and late.shard.scan(b"", 10)[0] == []

    asyncio.run(run())


def test_what_it_has_is_counted_and_loaded(make: Make, late: SpoolBench) -> None:
    desk = make()
    home = desk.manager.home
    census = Census(desk.manager, desk.bench.loop.call_later)
    census.begin()
    desk.run()
    join(desk, late)
    assert desk.manager.home is home
    census.recount()
    desk.run()
    assert census.complete and census.figures(0)["queued_fresh"] == 1
    assert census.oldest_us() > 0
    loader = Loader(late.shard, desk.manager, desk.bench.loop.call_later, late.ids.next())
    loader.start()
    desk.run()
    [recipient] = desk.manager.memory.values()
    assert recipient.address == "old@b.example" and recipient.where == Where.FRESH
    assert desk.manager.shard_of(recipient.message) is late.shard
    assert census.figures(0)["queued_fresh"] == 0
    loader.stop()
    census.stop()
