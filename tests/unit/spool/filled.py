"""A shard with small segments, for tests of what lies in them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from mta._speedups import bodylog
from mta.spool import ShardOptions
from mta.testing.spool import SpoolBench

if TYPE_CHECKING:
    from pathlib import Path

    from mta.model import Recipient

BODY = 6000  # octets: 12 units
OPTIONS = ShardOptions(16 << 20, min_free_bytes=0, segment_bytes=64 << 10, segment_from=1024)
FULL = 128 // bodylog.units(BODY)  # bodies in a segment


def opened(folder: Path) -> SpoolBench:
    """A shard whose first segment is ready."""
    bench = SpoolBench(folder, options=OPTIONS)
    bench.ids.resume_after(bench.shard.newest_id() or bytes(16))
    bench.run()
    prepared(bench)
    return bench


def prepared(bench: SpoolBench) -> None:
    """Let the segment that is wanted be made."""
    bench.shard._reclaim._prepare()
    rest(bench)
    assert bench.shard._bodies.segments.spare is not None


def rest(bench: SpoolBench) -> None:
    """Let the threads for files and for reading do all they were asked for."""
    for thread in (bench.shard._files, bench.shard._body_reader):
        done: list[int] = []
        thread().work(lambda done=done: lambda: done.append(1))  # type: ignore[misc]
        while not done:
            bench.loop.wait()


def send(bench: SpoolBench, count: int = 1, size: int = BODY) -> list[Recipient]:
    """Store messages of one recipient, the content in a segment unless none is ready."""
    stored = []
    for _ in range(count):
        if bench.shard._bodies.segments.low():
            prepared(bench)
        (one,) = bench.message("a@x", body=os.urandom(size))
        assert bench.accept([one]) == [None]
        stored.append(one)
    return stored


def close(bench: SpoolBench, recipients: list[Recipient]) -> None:
    """End recipients, and commit."""
    for one in recipients:
        bench.shard.close(one, b"end")
    bench.commit()
    bench.commit()


def crashed(bench: SpoolBench, name: str = "crashed") -> SpoolBench:
    """Another shard from what the disk holds now, as after kill -9."""
    folder = bench.folder.with_name(name)
    shutil.copytree(bench.folder, folder)
    return SpoolBench(folder, options=OPTIONS)


def number_of(one: Recipient) -> int:
    """The segment that has its content."""
    return one.message.place >> 32


def bodies_in_rocksdb(bench: SpoolBench) -> int:
    """How many contents are not in segments."""
    store = bench.shard._store
    return len(store._slice(store.bodies, b"", b"\xff" * 17, 1000))
