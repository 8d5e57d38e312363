"""What the node remembers, and what it does while the disk is full or fails."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mta.queues.acts import Select, Verb
from mta.supervisor import statekeeper
from mta.supervisor.state import (
    DOUBTS,
    ENDED_US,
    REMEMBERED_US,
    NodeState,
    StateDoubtError,
    StateError,
)


def opened(folder: Path) -> NodeState:
    state = NodeState(folder / "state.db")
    state.load()
    return state


@pytest.fixture
def state(tmp_path: Path) -> NodeState:
    return opened(tmp_path)


def test_an_act_survives_a_reopening(tmp_path: Path, state: NodeState) -> None:
    act = state.add_act(Verb.BOUNCE, Select(campaign="spring"), 5, "stop", "")
    state.close()
    assert opened(tmp_path).acts() == [act]


def test_a_swept_act_is_retired_and_its_number_not_used_again(state: NodeState) -> None:
    first = state.add_act(Verb.DELETE, Select(all=True), 5, "", "")
    state.swept(first.sequence)
    assert state.acts() == []
    assert state.add_act(Verb.DELETE, Select(all=True), 6, "", "").sequence > first.sequence


def test_a_hold_stands_after_its_sweep_until_a_release_ends_it(state: NodeState) -> None:
    first = state.add_act(Verb.HOLD, Select(campaign="spring"), 5, "", "")
    second = state.add_act(Verb.HOLD, Select(domain="a.example"), 6, "", "")
    state.swept(first.sequence, 7)
    assert [act.swept for act in state.acts()] == [True, False]
    release = state.add_act(Verb.RELEASE, first.select, 8, ends=[first.sequence])
    assert [act.sequence for act in state.acts()] == [second.sequence, release.sequence]
    state.swept(release.sequence, 7, 9)
    assert state.acts() == [second]


def test_acts_that_ended_are_listed_for_a_week(tmp_path: Path, state: NodeState) -> None:
    hold = state.add_act(Verb.HOLD, Select(campaign="spring"), 5, by="anna")
    state.swept(hold.sequence, 4)
    release = state.add_act(Verb.RELEASE, hold.select, 8, by="ben", ends=[hold.sequence])
    state.swept(release.sequence, 3, 9)
    state.close()
    state = opened(tmp_path)
    found = [(act.verb, act.by, act.touched, act.ended_us) for act in state.ended(10)]
    assert found == [(Verb.HOLD, "anna", 4, 8), (Verb.RELEASE, "ben", 3, 9)]
    assert [act.verb for act in state.ended(ENDED_US + 8)] == [Verb.RELEASE]
    state.add_act(Verb.FLUSH, Select(all=True), ENDED_US + 9)
    assert [act.verb for act in state.ended(10)] == [Verb.RELEASE], "the rest is forgotten"


def test_a_count_of_recipients_survives_a_reopening(tmp_path: Path, state: NodeState) -> None:
    act = state.add_act(Verb.DELETE, Select(all=True), 5)
    state.touched(act.sequence, 12)
    state.close()
    assert [act.touched for act in opened(tmp_path).acts()] == [12]


OLD = """
CREATE TABLE acts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, created_us INTEGER NOT NULL, verb TEXT NOT NULL,
    selection TEXT NOT NULL, reason TEXT NOT NULL, next_hop TEXT NOT NULL,
    swept INTEGER NOT NULL DEFAULT 0, retired INTEGER NOT NULL DEFAULT 0
);
INSERT INTO acts (sequence, created_us, verb, selection, reason, next_hop, swept, retired) VALUES
    (1, 5, 'hold', '{"domain":"a.example"}', '', '', 1, 0),
    (2, 5, 'hold', '{"campaign":"spring"}', '', '', 1, 0),
    (3, 5, 'release', '{"campaign":"spring"}', '', '', 0, 0),
    (4, 5, 'hold', '{"campaign":"spring"}', '', '', 0, 0),
    (5, 5, 'delete', '{"all":true}', '', '', 1, 1);
"""


@pytest.mark.parametrize("ways", [(), ("rw",), ("immutable",)])
def test_a_file_of_an_earlier_version_is_taken_over(
    tmp_path: Path, disk: Disk, ways: tuple[str, ...]
) -> None:
    """That ended a hold with the sweep of its release, which is not over here."""
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.executescript(OLD)
    disk.ways = ways or disk.ways
    state = opened(tmp_path)
    assert [act.sequence for act in state.acts()] == [1, 3, 4]
    if not ways:
        assert [act.sequence for act in state.ended(time.time_ns() // 1000)] == [2]
        state.swept(3, 1, time.time_ns() // 1000)
        assert state.add_act(Verb.FLUSH, Select(all=True), 6, by="anna").sequence == 6
        state.close()
        assert [act.sequence for act in opened(tmp_path).acts()] == [1, 4, 6]


# ---------------------------------------------------------------------- crashes


def test_crashes_are_counted_over_reopenings_until_they_are_set_aside(tmp_path: Path) -> None:
    for _ in range(2):
        state = opened(tmp_path)
        state.crashed(["aa", "bb"], 5)
        state.close()
    state = opened(tmp_path)
    assert state.poison(2) == {"aa": 2, "bb": 2} and state.poison(3) == {}
    state.set_aside(["aa"])
    state.crashed(["cc"], REMEMBERED_US + 6)
    state.close()
    assert opened(tmp_path).poison(1) == {"cc": 1}, "what is long ago is forgotten"


# ---------------------------------------------------------------------- disks that are full or fail


def full(error: int = sqlite3.SQLITE_FULL) -> sqlite3.OperationalError:
    found = sqlite3.OperationalError("database or disk is full")
    found.sqlite_errorcode = error
    return found


class Disk:
    """Lets SQLite open the database in some ways only, and write while it is not `full`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ways = ("", "rw", "immutable")
        self.full = False
        self._connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", self)

    def __call__(self, path: object, **options: Any) -> Any:
        way = "immutable" if "immutable" in str(path) else "rw" if "mode=rw" in str(path) else ""
        if way not in self.ways:
            raise full(sqlite3.SQLITE_CANTOPEN)
        return Connection(self, self._connect(path, **options))


class Connection:
    """A connection on such a disk."""

    def __init__(self, disk: Disk, db: sqlite3.Connection) -> None:
        self._disk, self._db = disk, db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, statement: str, *values: Any) -> Any:
        writes = ("INSERT", "UPDATE", "COMMIT", "PRAGMA user_version")
        if self._disk.full and statement.startswith(writes):
            raise full()
        return self._db.execute(statement, *values)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_what_is_in_force_can_be_read_where_nothing_can_be_made(tmp_path: Path, disk: Disk) -> None:
    """After a clean end, and after a crash, which leaves a log beside the database."""
    state = opened(tmp_path)
    hold = state.add_act(Verb.HOLD, Select(campaign="spring"), 5, "", "")
    after = tmp_path / "after"
    after.mkdir()
    for name in ("state.db", "state.db-wal"):
        shutil.copy(tmp_path / name, after)
    disk.ways = ("rw",)
    crashed = opened(after)
    assert crashed.acts() == [hold] and not crashed.whole and "full" in crashed.problem
    state.close()
    disk.ways = ("immutable",)
    assert opened(tmp_path).acts() == [hold]


def test_a_log_that_cannot_be_read_is_not_passed_over(tmp_path: Path, disk: Disk) -> None:
    state = opened(tmp_path)
    state.add_act(Verb.HOLD, Select(campaign="spring"), 5, "", "")
    disk.ways = ("immutable",)  # would see a database without the hold
    with pytest.raises(StateError):
        opened(tmp_path)
    state.close()


def test_without_a_database_there_is_nothing_in_force(tmp_path: Path, disk: Disk) -> None:
    disk.ways = ()
    state = opened(tmp_path)
    assert state.acts() == [] and state.poison(1) == {}
    (tmp_path / "state.db").write_bytes(b"")  # its creation got as far as that
    assert opened(tmp_path).acts() == []
    (tmp_path / "state.db").write_bytes(b"x")
    with pytest.raises(StateError):
        opened(tmp_path)


def test_what_is_damaged_is_kept_apart_and_all_mail_held(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database " * 100)
    state = opened(tmp_path)
    [act] = state.acts()
    assert (act.verb, act.select) == (Verb.HOLD, Select(all=True))
    assert act.sequence > 1_000_000  # shards know the numbers of earlier acts
    assert state.unknown
    assert "not a database" in state.notice and "mta queue release --all" in state.notice
    [kept] = (tmp_path / "corrupt").iterdir()
    assert kept.read_bytes() == b"no database " * 100
    state.close()
    again = opened(tmp_path)
    assert again.acts() == [act] and again.unknown and not again.notice
    again.swept(act.sequence)
    assert again.unknown
    release = again.add_act(Verb.RELEASE, Select(all=True), 9, ends=[act.sequence])
    assert not again.unknown and again.acts() == [release]


def test_acts_that_can_be_read_stay_in_force(tmp_path: Path, state: NodeState) -> None:
    hold = state.add_act(Verb.HOLD, Select(campaign="spring"), 5, "", "")
    state.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.execute("INSERT INTO crashes VALUES ('a', 'b', 'c')")
        db.commit()
    again = opened(tmp_path)
    assert again.acts() == [hold]
    assert not again.unknown
    assert "could be read" in again.notice
    assert again.add_act(Verb.FLUSH, Select(all=True), 6, "", "").sequence > hold.sequence


def test_an_act_that_makes_no_sense_is_damage(tmp_path: Path, state: NodeState) -> None:
    state.add_act(Verb.HOLD, Select(campaign="spring"), 5, "", "")
    state.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.execute("UPDATE acts SET selection = '{'")
        db.commit()
    assert opened(tmp_path).unknown


def test_a_damaged_file_that_cannot_be_kept_stays_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database " * 100)
    (tmp_path / "corrupt").write_bytes(b"in the way")
    with pytest.raises(StateError, match="cannot be made"):
        opened(tmp_path)
    assert (tmp_path / "state.db").exists()


def test_an_act_that_cannot_be_stored_is_none(tmp_path: Path, disk: Disk) -> None:
    state = opened(tmp_path)
    disk.full = True
    with pytest.raises(StateError, match="full"):
        state.add_act(Verb.DELETE, Select(all=True), 5, "", "")
    assert state.acts() == []
    disk.full = False
    act = state.add_act(Verb.HOLD, Select(all=True), 5, "", "")
    assert state.acts() == [act]


def test_an_act_stays_in_force_while_its_end_cannot_be_stored(tmp_path: Path, disk: Disk) -> None:
    state = opened(tmp_path)
    act = state.add_act(Verb.DELETE, Select(all=True), 5, "", "")
    disk.full = True
    with pytest.raises(StateError):
        state.swept(act.sequence)
    assert state.acts() == [act]
    disk.full = False
    state.swept(act.sequence)
    assert state.acts() == []


def test_crashes_are_written_down_when_the_disk_takes_them(tmp_path: Path, disk: Disk) -> None:
    state = opened(tmp_path)
    state.crashed(["aa", "bb"], 5)
    disk.full = True
    state.crashed(["aa"], 6)
    state.set_aside(["bb"])
    assert state.poison(1) == {"aa": 2} and not state.whole and "full" in state.problem
    with pytest.raises(StateError):
        state.mend()
    disk.full = False
    state.mend()
    assert state.whole and not state.problem
    state.close()
    assert opened(tmp_path).poison(1) == {"aa": 2}


def test_a_database_that_is_opened_late_keeps_what_happened_meanwhile(
    tmp_path: Path, disk: Disk
) -> None:
    state = opened(tmp_path)
    hold = state.add_act(Verb.HOLD, Select(all=True), 5, "", "")
    state.crashed(["aa", "bb"], 5)
    state.close()
    disk.ways = ("immutable",)
    state = opened(tmp_path)
    state.crashed(["aa", "cc"], 6)
    state.set_aside(["bb"])
    with pytest.raises(StateError):
        state.add_act(Verb.DELETE, Select(all=True), 5, "", "")
    disk.ways = ("",)
    state.mend()
    assert state.acts() == [hold]
    state.close()
    assert opened(tmp_path).poison(1) == {"aa": 2, "cc": 1}


# ---------------------------------------------------------------------- trying again


def test_what_cannot_be_read_is_read_later() -> None:
    async def run() -> None:
        said = list[str]()
        errors: list[Exception] = [StateError("no"), StateError("no"), OSError("never")]

        def read() -> None:
            if errors:
                raise errors.pop(0)

        await statekeeper.learn(read, asyncio.Event(), said.append, again=0)
        assert [line.partition(";")[0] for line in said] == ["no", "never"]

    asyncio.run(run())


def test_damage_is_believed_when_it_is_read_again(tmp_path: Path) -> None:
    state = opened(tmp_path)
    hold = state.add_act(Verb.HOLD, Select(campaign="spring"), 5, "", "")
    state.close()
    path = tmp_path / "state.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"x" * (len(whole) - 4096))
    again = NodeState(path)
    with pytest.raises(StateDoubtError, match="malformed"):
        again.load()
    path.write_bytes(whole)  # the disk could not be read, for a moment
    again.load()
    assert again.acts() == [hold] and not again.notice
    again.close()
    path.write_bytes(whole[:4096] + b"x" * (len(whole) - 4096))
    again = NodeState(path)
    for _ in range(DOUBTS - 1):
        with pytest.raises(StateDoubtError):
            again.load()
    again.load()
    assert again.notice


def test_a_stop_ends_the_trying() -> None:
    async def run() -> None:
        stop = asyncio.Event()

        def read() -> None:
            raise StateError("no")

        await statekeeper.learn(read, stop, lambda text: stop.set(), again=3600)

    asyncio.run(run())


def test_what_cannot_be_written_is_told_once_and_again_when_it_is(
    tmp_path: Path, disk: Disk
) -> None:
    async def run() -> None:
        state, said, told = opened(tmp_path), list[str](), list[str]()
        looks = 0

        async def sleep(seconds: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                disk.full = True
                state.crashed(["aa"], 5)
            elif looks == 4:
                disk.full = False
            elif looks == 6:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await statekeeper.mend(state, said.append, told.append, sleep)
        assert len(said) == 1 and "full" in said[0]
        assert told == [f"{tmp_path / 'state.db'} is written again"]

    asyncio.run(run())


def test_an_act_is_retired_when_the_disk_takes_it(tmp_path: Path, disk: Disk) -> None:
    async def run() -> None:
        state = opened(tmp_path)
        act = state.add_act(Verb.DELETE, Select(all=True), 5, "", "")
        disk.full = True
        retiring = asyncio.ensure_future(
            statekeeper.written(lambda: state.swept(act.sequence), again=0)
        )
        await asyncio.sleep(0)
        assert state.acts() == [act]
        disk.full = False
        await retiring
        assert state.acts() == []

    asyncio.run(run())
