"""The view follows a real log over several shards, and reads each record once."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mta.loadgen.logview import LogView
from mta.maillog.writer import LogWriter
from mta.testing.clock import FakeClock


def line(type: str, id: str, time: int) -> bytes:
    fields = {"type": type, "time": time, "id": id}
    fields |= {"total": 1} if type == "Reception" else {"recipient": "a@x"}
    return msgspec.json.encode(fields)


def test_update_goes_on_where_it_was(tmp_path: Path) -> None:
    clock, view = FakeClock(), LogView(tmp_path)
    assert view.update().open == 0  # no folder yet
    shards = [LogWriter(tmp_path / f"shard-000{n}", clock=clock) for n in range(2)]
    shards[0].append([line("Reception", "a", 1), line("Reception", "b", 2)])
    shards[1].append([line("Reception", "c", 3)])
    assert view.update().open == 3
    shards[0].append([line("Delivery", "a", 4)])
    shards[1].append([line("TransientFailure", "c", 5)])
    log = view.update()
    assert (log.open, log.delivered, log.retried) == (2, 1, 1)
    assert view.update().open == 2
    shards[1].append([line("Bounce", "c", 6)])
    assert view.update().failed == 1
    for shard in shards:
        shard.close()
    whole = view.whole()
    assert whole is not log
    assert (whole.open, whole.finals, sorted(whole.received)) == (1, 2, ["a", "b", "c"])
