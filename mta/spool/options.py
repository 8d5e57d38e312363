"""What a shard is opened with, and what that means to RocksDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    WriteOptions,
)

if TYPE_CHECKING:
    from pathlib import Path

FAMILIES = ("default", "bodies", "messages", "index")


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """Plain values; the defaults suit a machine of 2 cores and 24 GB."""

    memory_bytes: int = 128 << 20  # RocksDB's write buffers and block cache together
    max_open_files: int = 256  # descriptors for SST files; EMFILE makes RocksDB read-only
    background_jobs: int = 2  # flushes and compactions at a time
    outcome_interval: float = 0.05  # s an outcome waits for its log frame at most
    frame_records: int = 4096  # so many records make a frame at once
    min_free_bytes: int = 256 << 20  # less free space than this refuses new mail
    ballast_bytes: int = 0  # kept for a full disk; the WAL is kept as small
    shards: int = 1  # of the node, on the same disks
    log_folder: Path | None = None  # of this shard, if it may be on another disk
    home_folder: Path | None = None  # likewise, of the node's state
    stall_patience: float = 1.0  # s that accepted mail waits out a write stall
    kept_bytes: int = 128 << 20  # of records that the log could not take; more stops attempts
    segment_bytes: int = 64 << 20  # size of a file of bodies
    segment_from: int = 4096  # smaller bodies go to RocksDB
    corrupt_folder: Path | None = None  # default: `corrupt` beside the folder of the shards


def database_options(options: ShardOptions) -> dict[str, Options]:
    """RocksDB's options by column family; those of `default` hold for the database."""
    memory = options.memory_bytes
    cache = Cache(memory // 8)
    shares = {"default": memory // 32, "bodies": memory * 3 // 8}
    families = {}
    for name in FAMILIES:
        family = _family(cache, shares.get(name, memory // 8))
        _database(family, options)
        families[name] = family
    return families


def _database(o: Options, options: ShardOptions) -> None:
    # One flush for all families, so that no old WAL is kept for a family that is hardly written.
    o.set_atomic_flush(True)
    o.set_db_write_buffer_size(options.memory_bytes * 3 // 4)
    # Opening the database writes what is in the WAL once more: the ballast has room for that.
    o.set_max_total_wal_size(min(options.memory_bytes, options.ballast_bytes or 1 << 62))
    o.set_manifest_preallocation_size(64 << 10)
    # `look` has cut off what was never acknowledged; what is damaged still refuses the shard.
    o.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    o.set_max_open_files(options.max_open_files)
    o.set_max_background_jobs(options.background_jobs)
    o.set_allow_concurrent_memtable_write(False)  # the loop is the only writer
    o.set_bytes_per_sync(1 << 20)
    o.set_keep_log_file_num(3)
    o.set_max_log_file_size(1 << 20)
    o.set_stats_dump_period_sec(0)
    o.set_stats_persist_period_sec(0)


def _family(cache: Cache, write_buffer: int) -> Options:
    o = Options(raw_mode=True)
    o.set_write_buffer_size(write_buffer)
    o.set_max_write_buffer_number(3)
    o.set_arena_block_size(64 << 10)
    o.set_compression_type(DBCompressionType.lz4())
    o.set_level_compaction_dynamic_level_bytes(True)
    # Deletions rule a queue: files full of tombstones are compacted before a scan meets them.
    o.add_compact_on_deletion_collector_factory(10_000, 5_000, 0.5)
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_cache_index_and_filter_blocks(True)
    table.set_bloom_filter(10, False)
    table.set_block_size(16 << 10)
    o.set_block_based_table_factory(table)
    return o


def write_options() -> WriteOptions:
    """No sync: the committer does that without the GIL. A stall is an error, not a sleep."""
    o = WriteOptions()
    o.sync = False
    o.no_slowdown = True
    return o
