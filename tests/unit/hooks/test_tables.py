"""Lookup tables: files, SQLite, DB-API; the cache, its errors and its limits."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from mta.errors import ConfigError, TableError
from mta.hooks.tables import Tables, TableSpec, build
from mta.hooks.tables.cached import CachedTable, Threaded
from mta.testing.clock import FakeClock
from tests.waiting import PATIENCE

KEYS = "# users\nBob@b.example  acme, bulk \n\nflag\nbob@B.example last\n"
NETWORKS = "10.0.0.0/8 inside\n10.1.0.0/16 lab\n10.1.2.3 host\n2001:db8::/32 six\n0.0.0.0/0 all\n"
REGEX = r"""
/^info@/i info
/^(\w+)\.(\w+)@a\.example$/ \2-\1
/a\/b/ slash
/none/
"""
Value = TypeVar("Value")


def table(tmp_path: Path, kind: str, text: str, told: list[str] | None = None) -> Tables:
    file = tmp_path / "table"
    file.write_text(text)
    report = (lambda line: None) if told is None else told.append
    return build({"t": TableSpec(kind=kind, file=str(file))}, FakeClock(), report)


def get(tables: Tables, *keys: str) -> list[str | None]:
    async def run() -> list[str | None]:
        try:
            return [await tables["t"].get(key) for key in keys]
        finally:
            await tables.close()

    return asyncio.run(run())


def test_keys_without_case(tmp_path: Path) -> None:
    tables = table(tmp_path, "file", KEYS)
    assert get(tables, "BOB@b.example", "flag", "users", "#") == ["last", "", None, None]


def test_the_longest_prefix_counts(tmp_path: Path) -> None:
    tables = table(tmp_path, "cidr", NETWORKS)
    keys = ("10.1.2.3", "10.1.2.4", "10.2.0.0", "192.0.2.1", "2001:db8:1::", "::1", "x", "")
    assert get(tables, *keys) == ["host", "lab", "inside", "all", "six", None, None, None]
    assert get(tables, "::ffff:10.1.9.9") == ["lab"]


def test_the_first_expression_counts(tmp_path: Path) -> None:
    tables = table(tmp_path, "regex", REGEX)
    keys = ("INFO@x", "jo.do@a.example", "a/b", "is none", "zzz")
    assert get(tables, *keys) == ["info", "do-jo", "slash", "", None]


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("cidr", "10.0.0.0/8 a\n10.0.0.1/8 b\n", "table:2: table.t: 10.0.0.1/8 has host bits set"),
        ("regex", "/(/ x\n", "table:1: table.t: (: missing )"),
        ("regex", "plain x\n", "table:1"),
        ("regex", "/a/ \\1\n", "table:1: table.t: a: invalid group reference"),
        ("file", "\udcff", "is not a text in UTF-8"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, kind: str, text: str, told: str) -> None:
    file = tmp_path / "table"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        build({"t": TableSpec(kind=kind, file=str(file))}, FakeClock())
    assert told in str(caught.value)
    assert caught.value.key == "table.t"


def test_a_changed_file_is_read_again_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    file, clock, told = tmp_path / "table", FakeClock(), list[str]()
    file.write_text("10.0.0.0/8 one\n")

    async def run() -> None:
        spec = {"t": TableSpec(kind="cidr", file=str(file))}
        lookup = build(spec, clock, told.append)["t"]
        replace(file, "10.0.0.0/8 two\n")
        assert await lookup.get("10.0.0.1") == "one"  # not looked at for a second
        clock.advance(1)
        assert await lookup.get("10.0.0.1") == "two"
        for text in ("nonsense\n", None):
            replace(file, text)
            for _ in range(2):
                clock.advance(1)
                assert await lookup.get("10.0.0.1") == "two"
        replace(file, "10.0.0.0/8 three\n")
        clock.advance(1)
        assert await lookup.get("10.0.0.1") == "three"

    asyncio.run(run())
    assert [line.partition(": ")[0] for line in told] == [
        "table not read again, the old entries stay"
    ] * 2
    assert "table:1: 'nonsense'" in told[0] and "cannot be read" in told[1]


def replace(file: Path, text: str | None) -> None:
    file.unlink(missing_ok=True)
    if text is not None:
        new = file.with_suffix(".new")
        new.write_text(text)
        os.utime(new, ns=(0, hash(text) % 10**12))
        new.replace(file)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "a b?.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (name TEXT, value)")
        rows = [("bob", "acme"), ("num", 7), ("null", None), ("blob", b"raw")]
        connection.executemany("INSERT INTO users VALUES (?, ?)", rows)
    connection.close()
    return file


@pytest.mark.parametrize("mark", ["?", ":key"])
@pytest.mark.parametrize("kind", ["sqlite", "sql"])
def test_databases(database: Path, kind: str, mark: str) -> None:
    query = f"SELECT value FROM users WHERE name = {mark}"
    place = {"file": str(database)} if kind == "sqlite" else {"dsn": str(database)}
    if kind == "sql":
        place |= {"driver": "sqlite3"}
    tables = build({"t": TableSpec(kind=kind, query=query, ttl=0.0, **place)}, FakeClock())
    keys = ("bob", "num", "null", "blob", "' OR 1=1 --", "bob")
    assert get(tables, *keys) == ["acme", "7", None, "raw", None, "acme"]


def test_a_database_is_only_read(database: Path) -> None:
    query = "DELETE FROM users WHERE name = ? RETURNING value"
    tables = build({"t": TableSpec(kind="sqlite", file=str(database), query=query)}, FakeClock())
    with pytest.raises(TableError, match="table t: OperationalError: attempt to write a readonly"):
        get(tables, "bob")


@pytest.mark.parametrize(
    ("driver", "told"), [("nothing_there", "cannot be imported"), ("json", "no DB-API module")]
)
def test_a_driver_that_is_none(driver: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        build({"t": TableSpec(kind="sql", driver=driver, query="?")}, FakeClock())
    assert caught.value.key == "table.t.driver"


def test_a_table_that_is_not_there() -> None:
    tables = Tables({})
    with pytest.raises(TableError, match="table x: there is no"):
        tables["x"]
    assert "x" not in tables and len(tables) == 0


class Scripted:
    """A source that answers what the test says."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.answer: Callable[[str], Awaitable[str | None]] = self.upper
        self.closed = False

    async def look(self, key: str) -> str | None:
        self.keys.append(key)
        return await self.answer(key)

    async def upper(self, key: str) -> str | None:
        await asyncio.sleep(0)
        return key.upper() if key != "none" else None

    async def close(self) -> None:
        self.closed = True


def cached(source: Scripted, clock: FakeClock, **options: float) -> CachedTable:
    chosen = {"ttl": 60.0, "size": 2, "timeout": 5.0} | options
    return CachedTable("t", source, clock, **chosen)  # type: ignore[arg-type]


def test_answers_are_kept_and_asked_once_at_a_time() -> None:
    async def run() -> None:
        source, clock = Scripted(), FakeClock()
        lookup = cached(source, clock)
        assert await asyncio.gather(*(lookup.get("a") for _ in range(3))) == ["A"] * 3
        assert [await lookup.get(key) for key in ("a", "none", "none")] == ["A", None, None]
        assert source.keys == ["a", "none"]
        assert await lookup.get("b") == "B"  # makes "a" leave
        await lookup.get("a")
        assert source.keys == ["a", "none", "b", "a"]
        clock.advance(60)
        await lookup.get("a")
        assert source.keys[-2:] == ["a", "a"]
        await lookup.close()
        assert source.closed

    asyncio.run(run())


def test_nothing_is_kept_without_a_ttl() -> None:
    async def run() -> None:
        source = Scripted()
        lookup = cached(source, FakeClock(), ttl=0.0)
        await lookup.get("a")
        await lookup.get("a")
        assert source.keys == ["a", "a"]

    asyncio.run(run())


def test_failures_are_not_kept_and_time_is_limited() -> None:
    async def run() -> None:
        source = Scripted()
        lookup = cached(source, FakeClock(), timeout=PATIENCE)
        hasty = cached(source, FakeClock(), timeout=0.001)

        async def fails(key: str) -> None:
            raise ConnectionError("refused")

        async def hangs(key: str) -> None:
            await asyncio.Event().wait()

        source.answer = fails
        with pytest.raises(TableError, match="table t: ConnectionError: refused"):
            await lookup.get("a")
        source.answer = hangs
        with pytest.raises(TableError, match=r"table t: no answer within 0\.001 s"):
            await hasty.get("a")
        source.answer = source.upper
        assert await lookup.get("a") == "A"

    asyncio.run(run())


def test_one_who_gives_up_leaves_the_others_their_answer() -> None:
    async def run() -> None:
        lookup = cached(Scripted(), FakeClock())
        one, other = (asyncio.ensure_future(lookup.get("a")) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert await other == "A"
        assert one.cancelled()

    asyncio.run(run())


def test_threads_are_bounded() -> None:
    class Driver:
        def __init__(self) -> None:
            self.at_once = self.most = 0
            self.lock, self.go = threading.Lock(), threading.Event()

        def look(self, key: str) -> str:
            with self.lock:
                self.at_once += 1
                self.most = max(self.most, self.at_once)
                if self.at_once == 2:
                    self.go.set()
            assert self.go.wait(PATIENCE)
            with self.lock:
                self.at_once -= 1
            return key

    async def run() -> None:
        driver = Driver()
        source = Threaded(driver, "t", 2)
        keys = [str(number) for number in range(20)]
        assert await asyncio.gather(*map(source.look, keys)) == keys
        assert driver.most == 2
        await source.close()

    asyncio.run(run())
