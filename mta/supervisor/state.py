"""The node's durable state, `HOME/state.db`: SQLite, written by the supervisor alone.

It holds the operators' acts, and what workers had in hand when they crashed. Write-ahead log,
synchronous FULL: what is answered is on disk. Calls block for a sync; the supervisor makes them in
a thread.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import msgspec

from mta.errors import MailraceError
from mta.queues.acts import Act, Select, Verb

if TYPE_CHECKING:
    from pathlib import Path

REMEMBERED_US = 30 * 86_400 * 1_000_000  # a crash that long ago no longer counts

SCHEMA = """
CREATE TABLE IF NOT EXISTS acts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    created_us INTEGER NOT NULL,
    verb TEXT NOT NULL,
    selection TEXT NOT NULL,
    reason TEXT NOT NULL,
    next_hop TEXT NOT NULL,
    swept INTEGER NOT NULL DEFAULT 0,
    retired INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS crashes (
    id TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    last_us INTEGER NOT NULL
);
"""


class NodeState:
    """See the module; one object for the supervisor's life."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise MailraceError(f"cannot use {path}: {error}") from None

    def add_act(
        self, verb: Verb, select: Select, created_us: int, reason: str, next_hop: str
    ) -> Act:
        """Store an act; its sequence number is larger than that of every act before."""
        with self._lock:
            row = self._db.execute(
                "INSERT INTO acts (created_us, verb, selection, reason, next_hop)"
                " VALUES (?, ?, ?, ?, ?) RETURNING sequence",
                (created_us, verb, msgspec.json.encode(select), reason, next_hop),
            ).fetchone()
        return Act(row[0], verb, select, created_us, reason, next_hop)

    def acts(self) -> list[Act]:
        """The acts in force, by sequence: those to be swept, and standing holds."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sequence, verb, selection, created_us, reason, next_hop, swept"
                " FROM acts WHERE NOT retired ORDER BY sequence"
            ).fetchall()
        return [
            Act(number, Verb(verb), _select(select), created, reason, next_hop, bool(swept))
            for number, verb, select, created, reason, next_hop, swept in rows
        ]

    def swept(self, sequence: int) -> None:
        """An act's sweep is over on every shard: it is retired, a hold stands on."""
        acts = self.acts()
        act = next((act for act in acts if act.sequence == sequence), None)
        if act is None:
            return
        gone = [] if act.verb is Verb.HOLD else [sequence]
        if act.verb is Verb.RELEASE:
            gone += [
                hold.sequence
                for hold in acts
                if hold.verb is Verb.HOLD
                and hold.sequence < sequence
                and act.select.takes_in(hold.select)
            ]
        with self._lock:
            self._db.execute("UPDATE acts SET swept = 1 WHERE sequence = ?", (sequence,))
            self._db.executemany(
                "UPDATE acts SET retired = 1 WHERE sequence = ?", [(number,) for number in gone]
            )

    def crashed(self, ids: list[str], now_us: int) -> None:
        """Messages that a worker had in hand when it crashed; forgets what is long ago."""
        with self._lock:
            self._db.execute("DELETE FROM crashes WHERE last_us < ?", (now_us - REMEMBERED_US,))
            self._db.executemany(
                "INSERT INTO crashes VALUES (?, 1, ?)"
                " ON CONFLICT (id) DO UPDATE SET count = count + 1, last_us = excluded.last_us",
                [(id, now_us) for id in ids],
            )

    def poison(self, crashes: int) -> dict[str, int]:
        """Messages that were in hand at so many crashes, and at how many."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id, count FROM crashes WHERE count >= ?", (crashes,)
            ).fetchall()
        return dict(rows)

    def set_aside(self, ids: list[str]) -> None:
        """These are no longer in the queue."""
        with self._lock:
            self._db.executemany("DELETE FROM crashes WHERE id = ?", [(id,) for id in ids])

    def close(self) -> None:
        """Write the log back and close."""
        with self._lock:
            self._db.close()


def _select(text: bytes | str) -> Select:
    return msgspec.json.decode(text, type=Select)
