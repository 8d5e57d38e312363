"""Applying the log to the spool after a crash: what is recorded is not done a second time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from mta.model import Message, Recipient, Where
from mta.spool import keys
from mta.spool.changes import Frame
from mta.spool.doubts import Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mta.spool.shard import Shard

    Lost = Callable[[int], None]
    Dsn = Callable[[Recipient, "RecoveredRecord"], tuple[Message, list[Recipient]] | None]

BATCH = 4000  # puts and deletes between two writes
SLICE = 1000  # rows read at a time
MISSED = 100_000  # messages that are missing: more are not counted
SECOND = 0.2  # s until contents that look torn are read once more


class RecoveredRecord(msgspec.Struct, gc=False):
    """What recovery needs of a log record."""

    id: bytes
    number: int
    kind: Literal["terminal", "deferred", "reception", "lost", "found"]
    attempts: int = 0
    due_us: int = 0  # next attempt of a deferred one
    code: int = 0
    enhanced: str = ""
    text: str = ""
    type: str = ""  # the record's type, for whoever makes a DSN of it
    total: int = 0  # recipients, of a reception
    site: str = ""  # of a deferred one


@dataclass
class Recovered:
    """What recovery did."""

    records: int = 0  # read behind the spool's position
    closed: int = 0  # recipients whose terminal record was there already
    deferred: int = 0  # recipients moved to their next time
    dsns: int = 0  # DSNs stored with their recipient's end
    unlogged: list[Message] = field(default_factory=list)  # they need a Reception record
    torn: list[Message] = field(default_factory=list)  # without body, to be set aside
    found: dict[bytes, Recipient] = field(default_factory=dict)  # recorded as Lost, but there
    missing: int = 0  # recipients that were received and have neither an end nor a row


def recover(
    shard: Shard,
    entries: Iterable[RecoveredRecord],
    dsn: Dsn | None = None,
    lost: Lost | None = None,
    pause: Callable[[float], None] = time.sleep,
    kept: Callable[[], Iterable[RecoveredRecord]] = tuple,
) -> Recovered:
    """Apply the records behind `shard.position`, up to the log's end; may be done again.

    `dsn(recipient, record)` makes the DSN for a recipient that is closed here, or None: its
    record was synced, the batch that would have held the DSN was not. `lost(missing)` is called
    before the shard's position moves, where `missing` recipients are. `kept()` gives the records
    that wait in the shard for the log. None may wait: this is a start, nothing else runs on the
    shard yet.
    """
    return _Recovery(shard, dsn, lost, pause).run(entries, kept)


class _Recovery:
    def __init__(
        self, shard: Shard, dsn: Dsn | None, lost: Lost | None, pause: Callable[[float], None]
    ) -> None:
        self._shard, self._dsn, self._lost, self._pause = shard, dsn, lost, pause
        self._frame = Frame()
        self._seen: set[bytes] = set()
        self._missed: dict[bytes, int] = {}  # messages that are not there: recipients without end
        self.result = Recovered()

    def run(
        self, entries: Iterable[RecoveredRecord], kept: Callable[[], Iterable[RecoveredRecord]]
    ) -> Recovered:
        apply = {
            "terminal": self._close, "deferred": self._defer, "reception": self._reception,
            "lost": self._missing_again, "found": self._found_before,
        }  # fmt: skip
        for entry in entries:
            self.result.records += 1
            apply[entry.kind](entry)
            if len(self._frame.changes.ops) >= BATCH:
                self._write()
        # point: the log is applied to the spool
        self._unlogged()
        logged = self._shard.logged_meanwhile()
        if self._missed:
            for entry in kept():
                if entry.kind == "terminal":
                    self._has_end(entry)
        self.result.missing = sum(self._missed.values())
        if self.result.missing and self._lost is not None:
            self._lost(self.result.missing)
        end = self._shard.log_end.position
        for key in logged:
            self._frame.changes.set(key, None)
        self._frame.changes.set(keys.LOG, keys.position(*end))
        self._note_logged()
        self._write()
        # point: recovery is written, not synced
        self._shard.write_now(None)
        self._shard.keep_mark()
        self._shard.log_end.applied(end)
        self._shard.recovered()
        return self.result

    def _recipient(self, entry: RecoveredRecord) -> Recipient | None:
        """The recipient if it still has a row and no change waits for it."""
        key = keys.recipient(entry.id, entry.number)
        if key in self._frame.changing:
            self._write()
        return self._shard.get(entry.id, entry.number)

    def _close(self, entry: RecoveredRecord) -> None:
        recipient = self._recipient(entry)
        if recipient is None:
            self._has_end(entry)
            return
        message = recipient.message
        key = keys.recipient(entry.id, entry.number)
        self.result.found.pop(key, None)
        expiry = keys.expiry(recipient.expires_us, key)
        made = self._dsn(recipient, entry) if self._dsn is not None else None
        if made is not None:
            self._frame.changes.accepted.append(self._shard.taken(*made))
            self.result.dsns += 1
        self._frame.changes.remove(key, keys.row(recipient, key), expiry)
        self._frame.changing[key] = None
        message.open -= 1
        self._frame.touched[message.id] = message
        self.result.closed += 1

    def _defer(self, entry: RecoveredRecord) -> None:
        recipient = self._recipient(entry)
        if recipient is None or entry.attempts <= recipient.attempts:
            return
        key = keys.recipient(entry.id, entry.number)
        recipient.attempts, recipient.code = entry.attempts, entry.code
        recipient.enhanced, recipient.text = entry.enhanced, entry.text
        recipient.site = entry.site or recipient.site
        where = Where.HELD if recipient.where == Where.HELD else Where.DUE
        self._frame.changes.ops += self._shard.change(recipient, key, where, entry.due_us)
        self._frame.changing[key] = recipient
        self.result.deferred += 1

    def _reception(self, entry: RecoveredRecord) -> None:
        """The spool holds what was received behind its position, unless it has lost that."""
        new = entry.id not in self._seen
        self._seen.add(entry.id)
        if new and len(self._missed) < MISSED and self._shard.message(entry.id) is None:
            self._missed[entry.id] = entry.total

    def _has_end(self, entry: RecoveredRecord) -> None:
        """A recipient that is not there need not be: a crash came while this was being done."""
        left = self._missed.get(entry.id, 0) - 1
        if left > 0:
            self._missed[entry.id] = left
        else:
            self._missed.pop(entry.id, None)

    def _missing_again(self, entry: RecoveredRecord) -> None:
        """An earlier start took it for lost: it may have been restored from a copy."""
        recipient = self._recipient(entry)
        if recipient is None:
            self._has_end(entry)
        else:
            self.result.found[keys.recipient(entry.id, entry.number)] = recipient

    def _found_before(self, entry: RecoveredRecord) -> None:
        self.result.found.pop(keys.recipient(entry.id, entry.number), None)

    def _write(self) -> None:
        self._frame.freeze()
        self._shard.write_now(self._frame.changes)
        self._frame = Frame()

    def _unlogged(self) -> None:
        """Find the messages that were stored and whose Reception record was not logged."""
        self._write()
        newest, unlogged = self._shard.logged()
        found = []
        for id in [*unlogged, *self._ids_after(newest)]:
            message = None if id in self._seen else self._shard.message(id)
            if message is not None:
                found.append(message)
        torn = self._torn(found)
        self.result.torn = [message for message in found if message.id in torn]
        self.result.unlogged = [message for message in found if message.id not in torn]

    def _torn(self, messages: list[Message]) -> set[bytes]:
        """The ids of those whose content is proven not to be there; an error proves nothing."""
        doubted = [one for one in messages if isinstance(self._shard.body(one), Gone)]
        if doubted:
            self._pause(SECOND)
        return {one.id for one in doubted if isinstance(self._shard.body(one, anew=True), Gone)}

    def _ids_after(self, newest: bytes) -> Iterable[bytes]:
        after = newest + b"\xff" * 4 if newest else b""
        while True:
            rows = self._shard.record_keys(after, SLICE)
            yield from dict.fromkeys(key[:16] for key in rows)
            if len(rows) < SLICE:
                return
            after = rows[-1][:16] + b"\xff" * 4

    def _note_logged(self) -> None:
        """Write down what is known now, so that doing this again finds the same."""
        newest, _ = self._shard.logged()
        missing = [message.id for message in (*self.result.unlogged, *self.result.torn)]
        newest = max([newest, *self._seen, *missing])
        if newest:
            self._shard.note_logged(newest, missing)
            self._frame.changes.set(keys.LOGGED, b"".join([newest, *missing]))
