from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mta.errors import SpoolDamagedError, SpoolError, SpoolVersionError
from mta.model import Where
from mta.spool import keys
from mta.testing.spool import SpoolBench
from tests.waiting import PATIENCE

VICTIM = [sys.executable, str(Path(__file__).with_name("victim.py"))]
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(mode: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [*VICTIM, mode, str(folder)],
        *(),
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=PATIENCE,
    )
    return done.stdout.splitlines()


def wal(folder: Path) -> Path:
    logs = (folder / "spool" / "shard-0001").glob("*.log")
    return max(logs, key=lambda path: path.stat().st_size)


def found(folder: Path) -> dict[str, list[tuple[int, int]]]:
    """Recipients by message: number and where."""
    bench = SpoolBench(folder)
    messages: dict[str, list[tuple[int, int]]] = {}
    after = b""
    while True:
        recipients, after = bench.shard.scan(after, 1000)
        if not recipients:
            break
        for r in recipients:
            messages.setdefault(r.message.id.hex(), []).append((r.number, r.where))
            assert bench.shard.body(r.message)
    bench.close()
    return messages


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*VICTIM, "until_killed", str(tmp_path)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    lines = [process.stdout.readline().split() for _ in range(60)]
    process.send_signal(signal.SIGKILL)
    lines += [line.split() for line in process.stdout.read().splitlines()]
    process.wait()
    process.stdout.close()
    stored = {id for what, id in lines if what == "stored"}
    done = {id for what, id in lines if what == "done"}
    messages = found(tmp_path)
    assert stored - set(messages) == set()
    for id in done:
        assert messages[id] == [(1, Where.DUE)]
    for id in set(messages) - done:  # stored, but its outcomes were not committed, or only half
        assert messages[id] in ([(0, Where.FRESH), (1, Where.FRESH)], [(1, Where.DUE)])
    assert len(set(messages) - stored) <= 1


def test_a_torn_tail_loses_only_what_was_torn(tmp_path: Path) -> None:
    stored = [line.split()[1] for line in run("unsynced", tmp_path)]
    os.truncate(wal(tmp_path), wal(tmp_path).stat().st_size - 100)
    assert sorted(found(tmp_path)) == stored[:-1]


def test_damage_in_the_middle_refuses_the_shard(tmp_path: Path) -> None:
    run("unsynced", tmp_path)
    with open(wal(tmp_path), "r+b") as file:
        file.seek(wal(tmp_path).stat().st_size // 2)
        file.write(b"\xde\xad\xbe\xef" * 8)
    size = wal(tmp_path).stat().st_size
    with pytest.raises(SpoolDamagedError, match="mta spool repair.*restore the folder from a copy"):
        SpoolBench(tmp_path)
    assert wal(tmp_path).stat().st_size == size


def test_a_full_disk_and_its_end(tmp_path: Path) -> None:
    assert run("on_a_full_disk", tmp_path) == [
        *("refused 20", "healthy True", "lines [b'delivered']"),
        "there ['last@x']",
    ]


def test_a_damaged_block_is_no_end_of_an_index(tmp_path: Path) -> None:
    bench = SpoolBench(tmp_path)
    for _ in range(20):
        bench.stored(*(f"{number}@x" for number in range(100)))
    bench.close()  # flushes to SST files
    bench = SpoolBench(tmp_path)
    sizes = {name: sum(1 for _ in rows(bench, name)) for name in ("index", "messages")}
    assert sizes == {"index": 4000, "messages": 2020}
    for path in (tmp_path / "spool" / "shard-0001").glob("*.sst"):
        damage(path)
    bench.close()
    bench = SpoolBench(tmp_path)
    for name in sizes:
        with pytest.raises(SpoolDamagedError):
            rows(bench, name)
    assert "checksum mismatch" in str(bench.shard._store.damage)
    bench.close()


def rows(bench: SpoolBench, family: str) -> list[tuple[bytes, bytes]]:
    store = bench.shard._store
    return store._slice(getattr(store, family), b"", b"\xff" * 21, 10**6)


def damage(path: Path) -> None:
    """Spoil the middle of a file, which is data if the file is not tiny."""
    if path.stat().st_size > 20_000:
        with open(path, "r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(os.urandom(64))


def set_row(folder: Path, key: bytes, value: bytes) -> None:
    bench = SpoolBench(folder)
    bench.shard._store.default.put(key, value)
    bench.close()


def test_the_layout_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    set_row(tmp_path, keys.FORMAT, keys.u32(4))
    with pytest.raises(SpoolVersionError, match="layout 4, this version knows 3"):
        SpoolBench(tmp_path)
    with pytest.raises(SpoolVersionError):  # refusing it gave the lock back
        SpoolBench(tmp_path)


def test_a_renamed_shard_is_refused(tmp_path: Path) -> None:
    set_row(tmp_path, keys.SHARD, keys.u32(7))
    with pytest.raises(SpoolError, match="holds shard 7, not 1"):
        SpoolBench(tmp_path)
