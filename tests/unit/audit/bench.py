"""A shard with its log on disk, filled and closed, for what looks at it afterwards."""

from __future__ import annotations

import os
from pathlib import Path

from mta.maillog import LogWriter, RecordWriter, reader
from mta.model import Kind, Outcome, Peer, Recipient, Stages, Where
from mta.spool import ShardOptions, keys
from mta.spool.store import Store
from mta.testing.clock import FakeClock
from mta.testing.spool import SpoolBench

OK = Outcome(Kind.DELIVERED, 250, "2.0.0", "Ok", ".")
LATER = Outcome(Kind.DEFERRED, 451, "4.7.1", "later", "RCPT")
PEER = Peer("mx.x", "192.0.2.1:25", "")
OPTIONS = ShardOptions(16 << 20, min_free_bytes=0, segment_bytes=256 << 10, segment_from=1024)


class Filled:
    """Recipients that are fresh, held and in the backlog, one to three a message; some ended."""

    def __init__(self, home: Path, *, body: int = 3000) -> None:
        self.home = home
        self.folder, self.log = home / "spool" / "shard-0001", home / "log" / "shard-0001"
        self.bench = SpoolBench(home, log=LogWriter(self.log, clock=FakeClock()), options=OPTIONS)
        self.lines = RecordWriter("node", 1, self.bench.clock)
        self.open: list[Recipient] = []
        self.bench.shard._reclaim._prepare()
        self._until_ready()
        for number in range(8):
            self._message(number, body)
        self.bench.commit()
        self.bench.commit()

    def _until_ready(self) -> None:
        while self.bench.shard._bodies.segments.spare is None:
            self.bench.loop.wait()

    def _message(self, number: int, size: int) -> None:
        shard, lines = self.bench.shard, self.lines
        names = [f"{number}{part}@x" for part in "abc"[: 1 + number % 3]]
        them = self.bench.message(*names, body=os.urandom(size))
        assert self.bench.accept(them) == [None]
        shard.log(lines.reception(them[0].message, them), logged=them[0].message.id)
        if number % 4 == 1:
            shard.close(them[0], lines.delivery(them[0], OK, PEER, Stages()))
            self.open += them[1:]
            return
        where = (Where.FRESH, Where.FRESH, Where.HELD, Where.BACKLOG)[number % 4]
        if where != Where.FRESH:
            them[0].attempts = 1
            due = self.bench.clock.wall_us() + 60_000_000
            line = lines.transient_failure(them[0], LATER, PEER, Stages(), due)
            shard.defer(them[0], line, where, due)
        self.open += them

    def close(self) -> Filled:
        """Nothing is open any more."""
        assert self.bench.close() is None
        return self

    def store(self) -> Store:
        """The rows, to be changed by hand."""
        mark = keys.parse_mark(reader.last_mark(self.log))
        return Store(self.folder, 1, OPTIONS, mark)

    def names(self) -> set[str]:
        """Addresses that have no end."""
        return {one.address for one in self.open}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder: size and time of its last change."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}
