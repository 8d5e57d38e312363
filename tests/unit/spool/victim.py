"""A process that stores mail and tells what was acknowledged, until it is killed."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from mta.errors import SpoolBusyError
from mta.model import Where
from mta.testing.spool import SpoolBench


def acknowledge(what: str) -> None:
    os.write(1, f"{what}\n".encode())


def until_killed(bench: SpoolBench) -> None:
    """Accept messages of two recipients; close one, defer the other."""
    while True:
        one, two = bench.stored("a@x", "b@x")
        acknowledge(f"stored {one.message.id.hex()}")
        bench.shard.close(one, b"delivered")
        bench.shard.defer(two, b"deferred", Where.DUE, 77)
        bench.commit()
        acknowledge(f"done {one.message.id.hex()}")


def unsynced(bench: SpoolBench) -> None:
    """Fifty commits, then the end without a close: everything is in the WAL."""
    for _ in range(50):
        acknowledge(f"stored {bench.stored('a@x')[0].message.id.hex()}")
    os._exit(0)


def on_a_full_disk(bench: SpoolBench) -> None:
    """A limit on file sizes makes RocksDB's WAL fail; when it is lifted, mail is taken again."""
    (first,) = bench.stored("first@x")
    bench.shard.close(first, b"delivered")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
    refused = 0
    for _ in range(20):
        try:
            refused += bench.accept(bench.message("big@x", body=os.urandom(20_000))) != [None]
        except SpoolBusyError:
            refused += 1
        bench.loop.advance(0.02, bench.shard)
    acknowledge(f"refused {refused}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    for _ in range(4):
        bench.loop.advance(10, bench.shard)
    acknowledge(f"healthy {bench.shard.healthy}")
    acknowledge(f"lines {bench.memory_log.lines}")
    bench.stored("last@x")
    names = [r.address for r in bench.shard.scan(b"", 100)[0]]
    acknowledge(f"there {names}")
    assert bench.close() is None


if __name__ == "__main__":
    mode = {"until_killed": until_killed, "unsynced": unsynced, "on_a_full_disk": on_a_full_disk}
    mode[sys.argv[1]](SpoolBench(Path(sys.argv[2])))
