"""The spool: mail on disk, from its acceptance to each recipient's terminal record.

`Shard` is the whole interface of one RocksDB; `recover` applies the log after a crash. Beneath:
`writes` (acceptance and outcomes), `cycle` (the two commits), `reads` (slices of the indexes),
`changes` (what a batch is built from), `keys`, `record` and `encoder` (the layout), `store`
(RocksDB), `committer` (the thread that syncs).
"""

from __future__ import annotations

from mta.spool.bodies import BodyReader, BodyStore
from mta.spool.committer import FrameLog
from mta.spool.cycle import ShardStats
from mta.spool.doubts import Gone, Unreadable
from mta.spool.keys import Lane
from mta.spool.options import ShardOptions
from mta.spool.recovery import Recovered, RecoveredRecord, recover
from mta.spool.shard import Shard

__all__ = [
    "BodyReader",
    "BodyStore",
    "FrameLog",
    "Gone",
    "Lane",
    "Recovered",
    "RecoveredRecord",
    "Shard",
    "ShardOptions",
    "ShardStats",
    "Unreadable",
    "recover",
]
