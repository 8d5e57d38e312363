"""The node's durable state, `HOME/state.db`: SQLite, written by the supervisor alone.

It holds the operators' acts, those that ended of late too, and what workers had in hand when they
crashed. Write-ahead log,
synchronous FULL: what is answered is on disk. Calls block for a sync; the supervisor makes them in
a thread.

What is in force is kept in memory, so that workers can be started while the disk is full or fails.
To know it at a start, reading is enough: then new acts are refused, and what must be written down
anyway waits for `mend`.

A file that is damaged goes to `corrupt/`, and a new one begins. Unless the acts in force could be
read, all mail is held in it: what operators had held must not leave, and a release is one command.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from mta.errors import MailraceError
from mta.queues.acts import Act, Select, Verb, released

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DOUBTS = 3  # loadings that find damage before it is believed
REMEMBERED_US = 30 * 86_400 * 1_000_000  # a crash that long ago no longer counts
PASSING = {  # trouble of the disk or the machine; anything else is a file that is no database
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY,
}  # fmt: skip

SCHEMA = """
CREATE TABLE IF NOT EXISTS acts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    created_us INTEGER NOT NULL,
    verb TEXT NOT NULL,
    selection TEXT NOT NULL,
    reason TEXT NOT NULL,
    next_hop TEXT NOT NULL,
    swept INTEGER NOT NULL DEFAULT 0,
    retired INTEGER NOT NULL DEFAULT 0,
    given_by TEXT NOT NULL DEFAULT '',
    touched INTEGER NOT NULL DEFAULT 0,
    ended_us INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS crashes (
    id TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    last_us INTEGER NOT NULL
);
"""


ADDED = (  # columns of `acts` that earlier versions did not have
    "given_by TEXT NOT NULL DEFAULT ''",
    "touched INTEGER NOT NULL DEFAULT 0",
    "ended_us INTEGER NOT NULL DEFAULT 0",
)
ENDED_US = 7 * 86_400 * 1_000_000  # so long an act that has ended is listed
ENDED_SHOWN = 1000  # and so many at most

UNKNOWN = "what operators had held is unknown: state.db was damaged"  # why all mail is held


class StateError(MailraceError):
    """The disk does not give or take the state now: trying again may help."""


class StateDoubtError(StateError):
    """It reads as damaged, which SQLite says of a read that failed, too."""


class NodeState:
    """Acts and crashes: in memory at once, on disk when a call returns; `load` comes first."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        self._db: sqlite3.Connection | None = None  # None while it cannot be written
        self._acts: list[Act] = []  # in force, by sequence
        self._crashes: dict[str, tuple[int, int]] = {}  # id: how often, the last time
        self._unsaved: set[str] = set()  # ids of which the database knows less than `_crashes`
        self._doubts = 0  # loadings that found damage
        self.problem = ""  # why it cannot be written, for people
        self.notice = ""  # what the loading has done, for people

    def load(self) -> None:
        """Learn what is in force; StateError while it cannot even be read."""
        with self._lock:
            try:
                self._open()
            except StateDoubtError as error:
                self._doubts += 1
                if self._doubts < DOUBTS:
                    raise
                self._begin_anew(str(error))
            except StateError:
                self._read_only()
            except MailraceError as error:
                self._begin_anew(str(error))

    @property
    def unknown(self) -> bool:
        """Whether all mail is held because the acts in force were lost."""
        return any(act.verb is Verb.HOLD and act.reason == UNKNOWN for act in self._acts)

    def mend(self) -> None:
        """Write what waits for it, if the disk allows that again; StateError if not."""
        with self._lock, self._writing() as db:
            db.execute("PRAGMA user_version = 0")  # is written whether there is a change or not
            self._save(db)

    @property
    def whole(self) -> bool:
        """Whether everything is written down that is to be."""
        return self._db is not None and not self._unsaved

    # ------------------------------------------------------------------ acts

    def add_act(
        self,
        verb: Verb,
        select: Select,
        created_us: int,
        reason: str = "",
        next_hop: str = "",
        *,
        by: str = "",
        ends: Iterable[int] = (),
    ) -> Act:
        """Store an act; its sequence number is larger than that of every act before.

        `ends` has the holds that a release ends: with it, not with its sweep. StateError where the
        disk does not take it: then there is no such act.
        """
        gone = set(ends)
        with self._lock, self._writing() as db, _transaction(db):
            row = db.execute(
                "INSERT INTO acts (created_us, verb, selection, reason, next_hop, given_by)"
                " VALUES (?, ?, ?, ?, ?, ?) RETURNING sequence",
                (created_us, verb, msgspec.json.encode(select), reason, next_hop, by),
            ).fetchone()
            _retire(db, gone, created_us)
            db.execute("DELETE FROM acts WHERE retired AND ended_us < ?", (created_us - ENDED_US,))
        act = Act(row[0], verb, select, created_us, reason, next_hop, by=by)
        self._acts = [known for known in self._acts if known.sequence not in gone] + [act]
        return act

    def acts(self) -> list[Act]:
        """The acts in force, by sequence: those to be swept, and standing holds."""
        return list(self._acts)

    def ended(self, now_us: int) -> list[Act]:
        """The acts that ended of late, by sequence; none while the disk does not tell."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._db is not None:
                where = f"retired AND ended_us > {now_us - ENDED_US}"
                return _rows(self._db, where, ENDED_SHOWN)
        return []

    def swept(self, sequence: int, touched: int = 0, now_us: int = 0) -> None:
        """An act's sweep is over on every shard: it is retired, a hold stands on.

        StateError where the disk does not take that: then it stays in force.
        """
        holds = {act.sequence for act in self._acts if act.verb is Verb.HOLD}
        with self._lock, self._writing() as db:
            with _transaction(db):
                db.execute(
                    "UPDATE acts SET swept = 1, touched = ? WHERE sequence = ?", (touched, sequence)
                )
                if sequence not in holds:
                    _retire(db, {sequence}, now_us)
            self._acts = _acts(db)

    def touched(self, sequence: int, touched: int) -> None:
        """So many recipients an act has touched so far, its sweep goes on; StateError."""
        with self._lock, self._writing() as db:
            db.execute("UPDATE acts SET touched = ? WHERE sequence = ?", (touched, sequence))

    # ------------------------------------------------------------------ crashes

    def crashed(self, ids: list[str], now_us: int) -> None:
        """Messages that a worker had in hand when it crashed; forgets what is long ago."""
        with self._lock:
            for id, (_, last_us) in list(self._crashes.items()):
                if last_us < now_us - REMEMBERED_US:
                    self._forget(id)
            for id in ids:
                count, _ = self._crashes.get(id, (0, 0))
                self._crashes[id] = count + 1, now_us
            self._unsaved.update(ids)
            self._save_if_possible()

    def poison(self, crashes: int) -> dict[str, int]:
        """Messages that were in hand at so many crashes, and at how many."""
        return {id: count for id, (count, _) in list(self._crashes.items()) if count >= crashes}

    def set_aside(self, ids: list[str]) -> None:
        """These are no longer in the queue."""
        with self._lock:
            for id in ids:
                self._forget(id)
            self._save_if_possible()

    def _forget(self, id: str) -> None:
        if self._crashes.pop(id, None) is not None:
            self._unsaved.add(id)

    def _save_if_possible(self) -> None:
        with contextlib.suppress(MailraceError), self._writing() as db:  # `mend` tries again
            self._save(db)

    def _save(self, db: sqlite3.Connection) -> None:
        """Bring the rows of crashes up to what is known."""
        known = [(id, *self._crashes[id]) for id in self._unsaved if id in self._crashes]
        gone = [(id,) for id in self._unsaved if id not in self._crashes]
        with _transaction(db):
            db.executemany("INSERT OR REPLACE INTO crashes VALUES (?, ?, ?)", known)
            db.executemany("DELETE FROM crashes WHERE id = ?", gone)
        self._unsaved.clear()

    # ------------------------------------------------------------------ the file

    def close(self) -> None:
        """Write what waits, and the log back."""
        with self._lock:
            if self._unsaved:
                self._save_if_possible()
            if self._db is not None:
                self._db.close()
                self._db = None

    def _open(self) -> None:
        """For reading and writing."""
        with self._errors(), contextlib.ExitStack() as stack:
            db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            stack.callback(db.close)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(SCHEMA)
            _grow(db)
            self._learn(db)
            stack.pop_all()
            self._db, self.problem = db, ""

    def _begin_anew(self, problem: str) -> None:
        """Keep a damaged file apart, and begin another one with what could be read of it."""
        known, now = self._salvaged(), time.time_ns() // 1000
        kept = self.path.parent / "corrupt" / f"{self.path.name}-{now // 1_000_000}"
        try:
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            for end in ("-shm", "-wal", ""):
                part = self.path.with_name(self.path.name + end)
                if part.exists():
                    part.rename(kept.with_name(kept.name + end))
        except OSError as error:
            raise StateError(f"{problem}; {kept} cannot be made: {error.strerror}") from None
        self._open()
        db = self._db
        assert db is not None
        acts = known or []
        if known is None:
            acts = [
                Act(now // 1_000_000, Verb.HOLD, Select(all=True), now, UNKNOWN, by="the server")
            ]
        with self._errors(), _transaction(db):
            # Shards know earlier numbers: none may be given twice.
            db.execute("INSERT INTO sqlite_sequence VALUES ('acts', ?)", (now // 1_000_000,))
            db.executemany(
                "INSERT INTO acts (sequence, created_us, verb, selection, reason, next_hop, swept,"
                " given_by, touched) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, acts),
            )  # fmt: skip
        self._acts = acts
        self.notice = f"{problem}: it is kept as {kept}; " + (
            "the acts in force could be read" if known is not None else
            "nobody knows what was held, so all mail is: `mta queue release --all` lets it go"
        )  # fmt: skip

    def _salvaged(self) -> list[Act] | None:
        """The acts in force, if a damaged file still tells them all."""
        with contextlib.suppress(sqlite3.Error, MailraceError, ValueError, OSError):
            uri = f"file:{quote(str(self.path))}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
                if db.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",):
                    return _acts(db)
        return None

    def _read_only(self) -> None:
        """Learn what is in force where SQLite's files beside the database cannot be made."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return  # nobody has ever said anything
        except OSError as error:
            raise StateError(f"cannot read {self.path}: {error.strerror}") from None
        if size:
            self._learn_by(*self._ways())

    def _ways(self) -> Iterator[tuple[str, str]]:
        """Options of a URI and a pragma, by which it may be read."""
        # Alone with the file, SQLite keeps the index of the log in memory, not in a file.
        yield "mode=rw", "PRAGMA locking_mode=EXCLUSIVE"
        log = self.path.with_name(f"{self.path.name}-wal")
        try:
            if log.stat().st_size:
                return  # what lies in it must not be passed over
        except FileNotFoundError:
            pass
        except OSError:
            return
        yield "mode=ro&immutable=1", "PRAGMA query_only=1"

    def _learn_by(self, *ways: tuple[str, str]) -> None:
        problem: StateError | None = None
        for options, pragma in ways:
            try:
                with self._errors(), contextlib.ExitStack() as stack:
                    uri = f"file:{quote(str(self.path))}?{options}"
                    db = sqlite3.connect(uri, uri=True, isolation_level=None)
                    stack.callback(db.close)
                    db.execute(pragma)
                    return self._learn(db)
            except StateError as error:
                problem = error
        assert problem is not None
        raise problem

    def _learn(self, db: sqlite3.Connection) -> None:
        """Take over what the database says, unless that is known already."""
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master").fetchall()}
        acts = _acts(db) if "acts" in tables else []
        rows = db.execute("SELECT * FROM crashes").fetchall() if "crashes" in tables else []
        if not all(isinstance(count, int) and isinstance(last, int) for _, count, last in rows):
            raise sqlite3.DatabaseError("a row of crashes makes no sense")
        self._acts = acts
        stored = {id: (count, last_us) for id, count, last_us in rows}
        changed = {id: self._crashes.get(id) for id in self._unsaved}
        self._crashes = stored
        for id, crash in changed.items():
            if crash is None:
                stored.pop(id, None)
            else:
                stored[id] = crash

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The database; after a failure it is opened anew for the next call. StateError."""
        if self._db is None:
            self._open()
        db = self._db
        assert db is not None
        try:
            with self._errors():
                yield db
            self.problem = ""
        except MailraceError:
            self._db = None
            with contextlib.suppress(sqlite3.Error):
                db.close()
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What SQLite says, as ours."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            kind = StateError if code in PASSING else MailraceError
            if code == sqlite3.SQLITE_CORRUPT:
                kind = StateDoubtError
            self.problem = f"cannot use {self.path}: {error}"
            raise kind(self.problem) from None


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, with one sync."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _columns(db: sqlite3.Connection) -> set[str]:
    """Of `acts`."""
    return {row[1] for row in db.execute("PRAGMA table_info(acts)").fetchall()}


def _grow(db: sqlite3.Connection) -> None:
    """Add the columns that an earlier version did not have, and end holds as this one does.

    That version ended them with the sweep of their release, which may not be over.
    """
    known = _columns(db)
    missing = [column for column in ADDED if column.split()[0] not in known]
    if missing:
        with _transaction(db):
            ended = _released_before(_rows(db, "NOT retired", -1))
            for column in missing:
                db.execute(f"ALTER TABLE acts ADD COLUMN {column}")
            _retire(db, ended, time.time_ns() // 1000)


def _released_before(acts: list[Act]) -> set[int]:
    """Holds for which an earlier version had got a release that it did not come to the end of."""
    return {
        hold.sequence
        for act in acts
        if act.verb is Verb.RELEASE
        for hold in released(acts, act.select)
        if hold.sequence < act.sequence
    }


def _retire(db: sqlite3.Connection, gone: Iterable[int], now_us: int) -> None:
    db.executemany(
        "UPDATE acts SET retired = 1, ended_us = ? WHERE sequence = ?",
        [(now_us, sequence) for sequence in gone],
    )


def _acts(db: sqlite3.Connection) -> list[Act]:
    """The acts in force."""
    acts = _rows(db, "NOT retired", -1)
    if "ended_us" in _columns(db):
        return acts
    gone = _released_before(acts)
    return [act for act in acts if act.sequence not in gone]


def _rows(db: sqlite3.Connection, where: str, limit: int) -> list[Act]:
    """Acts by sequence; of more than `limit` the last ones."""
    more = "given_by, touched, ended_us" if "ended_us" in _columns(db) else "'', 0, 0"
    rows = db.execute(
        f"SELECT sequence, verb, selection, created_us, reason, next_hop, swept, {more}"  # noqa: S608
        f" FROM acts WHERE {where} ORDER BY sequence DESC LIMIT {limit}"
    ).fetchall()
    try:
        return [
            Act(number, Verb(verb), _select(select), created, reason, hop, bool(swept), *others)
            for number, verb, select, created, reason, hop, swept, *others in reversed(rows)
        ]
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"a row of acts makes no sense: {error}") from None


def _row(act: Act) -> tuple[int, int, str, bytes, str, str, bool, str, int]:
    select = msgspec.json.encode(act.select)
    return (
        act.sequence, act.created_us, act.verb, select, act.reason, act.next_hop, act.swept,
        act.by, act.touched,
    )  # fmt: skip


def _select(text: bytes | str) -> Select:
    return msgspec.json.decode(text, type=Select)
