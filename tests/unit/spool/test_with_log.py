"""The spool with the real log: what a worker wires together."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from mta.maillog import LogWriter, RecordWriter, read
from mta.maillog.records import TERMINAL
from mta.model import Kind, Outcome, Peer, Stages, Where, id_bytes
from mta.spool import RecoveredRecord, Shard, keys, recover
from mta.testing.clock import FakeClock
from mta.testing.spool import SpoolBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mta.maillog import Fields

OK = Outcome(Kind.DELIVERED, 250, "2.0.0", "Ok", ".")
LATER = Outcome(Kind.DEFERRED, 451, "4.7.1", "later", "RCPT")
PEER = Peer("mx.x", "192.0.2.1:25", "")


def recovered(fields: Fields) -> RecoveredRecord | None:
    id, number = id_bytes(fields["id"]), fields.get("rno", 0)
    if fields["type"] in TERMINAL:
        return RecoveredRecord(id, number, "terminal", type=fields["type"])
    if fields["type"] == "TransientFailure":
        return RecoveredRecord(
            *(id, number, "deferred", fields["attempts"], fields["next_attempt"], fields["code"]),
            *(fields["enhanced"], fields["text"]),
        )
    return RecoveredRecord(id, number, "reception") if fields["type"] == "Reception" else None


def entries(shard: Shard, folder: Path) -> Iterator[RecoveredRecord]:
    for _, fields in read(folder, shard.position):
        entry = recovered(fields)
        if entry is not None:
            yield entry


def test_a_crash_between_the_log_and_the_spool_is_mended(tmp_path: Path) -> None:
    folder = tmp_path / "log" / "shard-0001"
    bench = SpoolBench(tmp_path, log=LogWriter(folder, clock=FakeClock()))
    records = RecordWriter("node", 1, bench.clock)
    one, two = bench.stored("a@x", "b@x")
    bench.shard.log(records.reception(one.message, [one, two]), logged=one.message.id)
    bench.commit()
    before = bench.shard.position
    two.attempts = 1
    due = bench.clock.wall_us() + 60_000_000
    assert bench.close() is None

    # The frame reaches the disk; the process dies before its batch is written.
    log = LogWriter(folder, clock=FakeClock())
    late = records.transient_failure(two, LATER, PEER, Stages(), due)
    log.append([records.delivery(one, OK, PEER, Stages()), late])
    log.close()

    bench = SpoolBench(tmp_path, log=LogWriter(folder, clock=FakeClock()))
    assert bench.shard.position == before
    result = recover(bench.shard, entries(bench.shard, folder))
    assert (result.records, result.closed, result.deferred, result.unlogged) == (2, 1, 1, [])
    (left,) = bench.shard.scan(b"", 10)[0]
    assert (left.address, left.where, left.due_us, left.attempts) == ("b@x", Where.DUE, due, 1)
    assert list(entries(bench.shard, folder)) == []
    bench.close()


def test_the_log_proves_what_the_spool_has_lost(tmp_path: Path) -> None:
    """A frame tells how far the spool was synced: to be held against it at the next start."""
    folder = tmp_path / "log" / "shard-0001"
    bench = SpoolBench(tmp_path, log=LogWriter(folder, clock=FakeClock()))
    records = RecordWriter("node", 1, bench.clock)
    before = tmp_path / "before" / "spool"
    (one,) = bench.stored("a@x")
    shutil.copytree(bench.folder / "spool", before)
    (two,) = bench.stored("b@x")
    bench.shard.log(records.reception(two.message, [two]), logged=two.message.id)
    bench.commit()
    synced = bench.shard._store.synced
    assert bench.close() is None

    log = LogWriter(folder, clock=FakeClock())
    mark = keys.parse_mark(log.mark)
    assert mark is not None
    assert mark.identity == bench.shard._store.identity
    assert mark.synced in (synced, synced - 1)  # the frame's own change follows it
    log.close()
    again = SpoolBench(bench.folder, log=LogWriter(folder, clock=FakeClock()))
    assert again.shard.found.lost == 0
    again.close()
    again = SpoolBench(before.parent, log=LogWriter(folder, clock=FakeClock()))
    assert again.shard.found.lost == mark.synced - 2
    again.shard.keep_mark()  # from now on the log tells of this one
    again.close()
    again = SpoolBench(before.parent, log=LogWriter(folder, clock=FakeClock()))
    assert again.shard.found.lost == 0
    again.close()
