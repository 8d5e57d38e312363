"""The write-ahead log as RocksDB has written it, read from the file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mta.spool import ShardOptions, keys, wal
from mta.spool.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from mta.spool.wal import Wal

OPTIONS = ShardOptions(16 << 20)
MESSAGES, INDEX = 2, 3  # places in `handles`


def written(folder: Path, sizes: list[int]) -> list[tuple[int, bytes]]:
    """A database whose log has a batch for each size; number and value of each."""
    store = Store(folder, 1, OPTIONS)
    values = []
    for size in sizes:
        batch, value = store.batch(), os.urandom(size)
        batch.put(b"key", value, store.handles[MESSAGES])
        batch.delete(b"row", store.handles[INDEX])
        batch.delete(b"act")
        store.write(batch)
        values.append((store.written, value))
    store.sync()
    copy = folder.with_name("copy")
    copy.mkdir()
    for one in folder.glob("*.log"):
        (copy / one.name).write_bytes(one.read_bytes())
    store.close()
    return values


def the_file(folder: Path) -> Wal:
    (one,) = wal.files(folder.with_name("copy"))
    return one


def test_batches_come_back(tmp_path: Path) -> None:
    values = written(tmp_path / "db", [10, 0, 70_000, 32_700, 3, 200_000])
    one = the_file(tmp_path / "db")
    found = list(one.read())[1:]
    assert (one.end, one.bad, one.cut) == (one.size, None, False)
    for batch, (number, value) in zip(found, values, strict=True):
        assert batch.mark is not None
        assert (batch.mark.number, batch.mark.synced) == (number, 1)
        rows = list(batch.operations())
        assert rows[0][:2] == (0, keys.BATCH)
        assert rows[1:] == [(2, b"key", value), (3, b"row", None), (0, b"act", None)]


def test_where_the_end_is_cut_off_is_told(tmp_path: Path) -> None:
    written(tmp_path / "db", [100, 50_000])
    one = the_file(tmp_path / "db")
    ends = [batch.end for batch in one.read()]
    sizes = {*range(ends[1], one.size, 997), ends[1] + 3, one.size - 1}
    for size in sorted(sizes, reverse=True):
        os.truncate(one.path, size)
        cut = wal.Wal(one.path)
        assert [batch.end for batch in cut.read()] == ends[:2]
        assert (cut.end, cut.bad is not None, cut.cut) == (ends[1], size > ends[1], size > ends[1])


@pytest.mark.parametrize("at", [0, 3, 5, 6, 7, 40])
def test_a_spoilt_octet_ends_it_and_what_follows_is_found(tmp_path: Path, at: int) -> None:
    values = written(tmp_path / "db", [1000] * 60)
    one = the_file(tmp_path / "db")
    ends = [batch.end for batch in one.read()]
    with open(one.path, "r+b") as file:
        file.seek(ends[10] + at)
        octet = file.read(1)
        file.seek(ends[10] + at)
        file.write(bytes((octet[0] ^ 0xFF,)))
    assert [batch.end for batch in one.read()] == ends[:11]
    assert (one.end, one.bad, one.cut) == (ends[10], ends[10], False)
    behind = [batch.mark.number for batch in one.behind() if batch.mark is not None]
    # A length that is wrong costs the rest of its block.
    assert behind == [number for number, _ in values[11:]][-len(behind) :]
    assert len(behind) == 49 if at in (0, 3, 7, 40) else 28 <= len(behind) <= 49


def test_zeros_are_no_records(tmp_path: Path) -> None:
    written(tmp_path / "db", [1000])
    one = the_file(tmp_path / "db")
    size = one.path.stat().st_size
    os.truncate(one.path, size + 100_000)
    assert len(list(one.read())) == 2
    assert (one.end, one.bad, one.cut) == (size, size, False)
    assert list(one.behind()) == []


def test_an_operation_that_nobody_writes_is_told() -> None:
    head = bytes(wal.HEAD)
    for octets in (b"\x07\x01k", b"\x01\x05abc", b"\x05\x01\x02ab", b"\x01\x80"):
        with pytest.raises(ValueError, match="operation"):
            list(wal.Batch(0, head + octets).operations())
    assert list(wal.Batch(0, head + b"\x03\x01x").operations()) == []
    assert wal.Batch(0, head + b"\x01\x01kvalue").mark is None
