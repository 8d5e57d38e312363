"""Records that cannot be read are told, tried again, and never taken for gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mta.errors import SpoolDamagedError, SpoolError
from mta.model import Recipient, Where
from mta.spool import keys
from mta.spool.unread import AGAIN
from mta.testing.spool import SpoolBench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHECKSUM = "Corruption: block checksum mismatch: stored = 1, computed = 2 in 000012.sst offset 0"
EIO = "IO error: While pread offset 0 len 4096: 000012.sst: Input/output error"
LAST = b"\xff" * 16


class Failing:
    """A column family of which some keys cannot be read while `text` says why."""

    def __init__(self, family: Any, ids: set[bytes], text: str) -> None:
        self._family, self._ids, self.text = family, ids, text
        self.readings = 0
        self.heals_after = -1  # readings

    def get(self, key: Any) -> Any:
        wanted = key if isinstance(key, list) else [key]
        if self.text and any(one[:16] in self._ids for one in wanted):
            self.readings += 1
            if self.readings != self.heals_after:
                raise Exception(self.text)  # noqa: TRY002 - as rocksdict does
            self.text = ""
        return self._family.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)


def fail(bench: SpoolBench, text: str, *recipients: Recipient) -> Failing:
    store = bench.shard._store
    failing = Failing(store.messages, {one.message.id for one in recipients}, text)
    store.messages = failing
    bench.shard._messages.clear()
    return failing


def names(recipients: list[Recipient]) -> list[str]:
    return [one.address for one in recipients]


def told(bench: SpoolBench) -> list[str]:
    return [one.reason for one in bench.shard.troubles() if one.alarm == "unreadable_records"]


@pytest.mark.parametrize("text", [CHECKSUM, EIO])
@pytest.mark.parametrize("others", [[], ["other@x"]], ids=["alone", "with an envelope"])
def test_nothing_is_set_aside_that_cannot_be_read(
    bench: SpoolBench, text: str, others: list[str]
) -> None:
    aside: list[bytes] = []
    bench.shard.on_corrupt = lambda id, number, why: aside.append(id)
    (one, *_), _ = bench.stored("bad@x", *others), bench.stored("good@x")
    failing = fail(bench, text, one)
    assert names(bench.shard.fresh(b"", LAST, 10)) == ["good@x"]
    bench.commit()
    assert aside == []
    assert not (bench.folder / "corrupt").exists()
    assert bench.memory_log.frames == []
    [reason] = told(bench)
    assert "mta spool repair --shard 1" in reason
    with pytest.raises(SpoolError):
        bench.shard.get(one.message.id, 0)  # who asks for it alone is told, too
    assert bench.shard.again() == []  # not yet
    failing.text = ""
    bench.loop.advance(AGAIN, bench.shard)
    assert names(bench.shard.again()) == ["bad@x", *others]
    assert bench.shard.again() == []


def test_what_still_cannot_be_read_waits_once_more(bench: SpoolBench) -> None:
    (one,) = bench.stored("bad@x")
    fail(bench, EIO, one)
    assert bench.shard.fresh(b"", LAST, 10) == []
    for _ in range(3):
        bench.loop.advance(AGAIN, bench.shard)
        assert bench.shard.again() == []
        assert told(bench)


def test_one_that_was_held_meanwhile_is_not_given_out(bench: SpoolBench) -> None:
    (one,) = bench.stored("bad@x")
    failing = fail(bench, EIO, one)
    assert bench.shard.fresh(b"", LAST, 10) == []
    failing.text = ""
    bench.shard.move(one, Where.HELD)
    bench.run()
    bench.loop.advance(AGAIN, bench.shard)
    assert bench.shard.again() == []


def test_one_reading_proves_no_damage(bench: SpoolBench, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[Path] = []
    monkeypatch.setattr("mta.spool.rocks.pass_cache", passed.append)
    (one,) = bench.stored("a@x")
    failing = fail(bench, CHECKSUM, one)
    failing.heals_after = 2
    assert bench.shard.get(one.message.id, 0) is not None
    assert passed == [bench.shard.folder]  # the second one was past the page cache
    assert told(bench) == []


def test_what_was_proven_is_not_read_twice_again(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    failing = fail(bench, CHECKSUM, one)
    for readings in (2, 3, 4):
        with pytest.raises(SpoolDamagedError):
            bench.shard.get(one.message.id, 0)
        assert failing.readings == readings


# ---------------------------------------------------------------- on a disk


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[SpoolBench]:
    """A shard of 2,000 recipients with a damaged block among its records; the index is whole."""
    bench = SpoolBench(tmp_path)
    for _ in range(20):
        bench.stored(*(f"{number}@x.example" for number in range(100)))
    bench.shard._young.list_all()
    bench.run()
    bench.close()
    SpoolBench(tmp_path).close()  # what the write-ahead log had is in tables now
    store = SpoolBench(tmp_path)
    names = {one["name"].lstrip("/") for one in store.shard._store._db.live_files()}
    store.close()
    [path] = [p for p in (tmp_path / "spool" / "shard-0001").glob("*.sst")
              if p.name in names and b"namemessages" in p.read_bytes()]  # fmt: skip
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"damage")
    bench = SpoolBench(tmp_path)
    yield bench
    bench.close()


def searched(bench: SpoolBench) -> int:
    after: bytes | None = b""
    count = 0
    while after is not None:
        found, after = bench.shard.search(after, Everything(), 500, 100)
        count += len(found)
    return count


class Everything:
    """A sieve that lets all through."""

    id, by_site = b"", False
    going: Callable[..., bool] = staticmethod(lambda *fields: True)
    message: Callable[..., bool] = staticmethod(lambda *fields: True)
    address: Callable[..., bool] = staticmethod(lambda address: True)


def test_a_damaged_block_is_passed_over_by_searches(damaged: SpoolBench) -> None:
    count = searched(damaged)
    assert 1000 < count < 2000
    assert "checksum mismatch" in told(damaged)[0]
    assert searched(damaged) == count  # from where it was found the first time


def test_all_but_the_damaged_block_is_loaded(damaged: SpoolBench) -> None:
    aside: list[bytes] = []
    damaged.shard.on_corrupt = lambda id, number, why: aside.append(id)
    after, count = b"", 0
    while found := damaged.shard.fresh(after, LAST, 64):
        count += len(found)
        after = keys.recipient(found[-1].message.id, found[-1].number)
    damaged.commit()
    assert 1000 < count < 2000
    assert aside == []
    assert len(damaged.shard._store.rows(b"f", b"g", 10_000)) == 2000
