"""Reading a shard: bounded slices of its indexes, on the loop.

Reads see every change that was called before them: changes that need no record are written first,
and recipients whose changes wait for a frame are given back as the objects they are in memory.
While a failed database is being mended (`readable` is False) every read raises SpoolBusyError; a
damaged block of an index raises SpoolDamagedError, it does not look like the index's end. What
cannot be read says nothing of the mail: a slice is without such recipients, and `again` has those
that can be read later.

A watermark is the last key that was read. No row is ever put behind one: a recipient that would
be due before it becomes due just after it. When the clock was set back, `rewind` has all of them
begin anew: what is read again then is in memory, or has been decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.errors import RecordError, SpoolBusyError, SpoolDamagedError, SpoolError
from mta.model import Message, Recipient
from mta.spool import keys, record
from mta.spool.changes import NEVER
from mta.spool.sieve import Sifter
from mta.spool.unread import UnreadRows
from mta.spool.writes import Writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta.spool.corrupt import Corrupt
    from mta.spool.keys import Lane
    from mta.spool.sieve import Sieve
    from mta.spool.store import Places, Rows, Store

LANES_AT_A_TIME = 64


class Reads(Writes):
    """The reading half of a shard."""

    _store: Store
    _corrupt: Corrupt
    _unread: UnreadRows

    def __init__(self) -> None:
        super().__init__()
        self._due_key = b"d"  # the last row d that was read, `_due_mark` its time

    @property
    def readable(self) -> bool:
        """Whether reads are possible: not while a failed database is being mended."""
        return self._cycle.readable

    # -- single messages and recipients

    def message(self, id: bytes) -> Message | None:
        """The message, one object for all who ask; None if there is none (any more)."""
        message = self._messages.get(id)
        if message is not None:
            return message if message.open > 0 else None
        self._readable()
        value = self._store.get(self._store.messages, id)
        if value is None:
            return self._message_alone(id)
        return self._decoded_message(id, value)

    def _message_alone(self, id: bytes) -> Message | None:
        """The message of a recipient that has no other beside it."""
        key = keys.recipient(id, 0)
        changing, recipient = self._cycle.pending(key)
        if changing:
            return recipient.message if recipient is not None else None
        value = self._store.get(self._store.messages, key)
        if value is None or not record.is_alone(value):
            return None
        return self._decoded_message(id, value)

    def get(self, id: bytes, number: int) -> Recipient | None:
        """One recipient; None if it is closed or unknown."""
        self._readable()
        key = keys.recipient(id, number)
        changing, recipient = self._cycle.pending(key)
        if changing:
            return recipient
        value = self._store.get(self._store.messages, key)
        return None if value is None else self._decoded(key, value)

    def oldest(self, after: bytes) -> bytes:
        """The smallest key of a message at or above `after`, b"" if there is none."""
        self._readable()
        rows = self._store.records(after, keys.END, 1)
        return rows[0][0] if rows else b""

    def places(self) -> Places:
        """What each index holds at this instant, to be counted in steps."""
        self._young.list_all()
        self._readable()
        return self._store.places()

    def recipients(self, id: bytes) -> list[Recipient]:
        """The recipients of a message that have no terminal record."""
        self._readable()
        rows = self._store.records(id + b"\0", id + keys.END, 1 << 31)
        return self._from_records([row for row in rows if row[0][:16] == id])

    # -- slices

    def fresh(self, after: bytes, before: bytes, limit: int) -> list[Recipient]:
        """FRESH recipients with `after` < id + rno < `before`; fewer than one: there are no more.

        `after` is b"" or the key (`keys.recipient`) of the last one; `before` is the first id of
        this run. Recipients of one message share it.
        """
        self._young.list_all()
        start = keys.after(b"f" + after) if after else b"f"
        return self._some(start, b"f" + before, limit)

    def held(self, after: bytes, limit: int) -> list[Recipient]:
        """HELD recipients whose key is above `after`; none: there are no more."""
        return self._some(keys.after(b"h" + after) if after else b"h", b"i", limit)

    def due(self, after_key: bytes, until_us: int, limit: int) -> tuple[list[Recipient], bytes]:
        """DUE recipients up to `until_us` in order of time, and the watermark to go on from."""
        self._readable()
        start, stop = keys.after(after_key) if after_key else b"d", b"d" + keys.u64(until_us + 1)
        rows = self._store.rows(start, stop, limit) if start < stop else []
        if any(frame.due_min <= until_us for frame in self._cycle.frames()):
            rows = self._with_pending(rows, start, stop, limit)
        mark = rows[-1] if len(rows) == limit else b"d" + keys.u64(until_us) + keys.END
        mark = max(mark, after_key)
        self._due_key, self._due_mark = mark, max(self._due_mark, keys.timed(mark))
        return self._load(rows), mark

    def next_due(self) -> int | None:
        """When the first DUE recipient behind the last watermark is due; None if none is."""
        self._readable()
        times = [frame.due_min for frame in self._cycle.frames() if frame.due_min < NEVER]
        times += [keys.timed(row) for row in self._store.rows(keys.after(self._due_key), b"e", 1)]
        return min(times, default=None)

    def backlog_lanes(self) -> Iterator[Lane]:
        """The lanes that have a backlog, by class first."""
        start = b"b"
        while True:
            self._readable()
            lanes = self._lanes(start)
            for _, lane in lanes:
                yield lane
            if len(lanes) < LANES_AT_A_TIME:
                return
            start = keys.above(lanes[-1][0])

    def backlog(
        self, lane: Lane | tuple[int, str, str, str], after_key: bytes, limit: int
    ) -> tuple[list[Recipient], bytes]:
        """BACKLOG recipients of a lane in order of due time, and the watermark to go on from.

        The lane's watermark is kept until `forget_lane`.
        """
        self._readable()
        prefix = keys.lane(lane)
        start, stop = keys.after(after_key) if after_key else prefix, keys.above(prefix)
        rows = self._store.rows(start, stop, limit)
        if any(frame.has_backlog for frame in self._cycle.frames()):
            rows = self._with_pending(rows, start, stop, limit)
        if rows:
            mark = keys.parse_backlog(rows[-1])[2]
            self._lane_marks[prefix] = max(mark, self._lane_marks.get(prefix, 0))
        return self._load(rows), rows[-1] if rows else after_key

    def rewind(self) -> None:
        """Forget every watermark: the indexes by time will be read from their beginnings."""
        self._due_key, self._due_mark, self._expiry_mark = b"d", 0, 0
        self._lane_marks.clear()

    def again(self) -> list[Recipient]:
        """Recipients that were left out of a slice and can be read by now, as far as they wait."""
        rows = self._unread.due()
        if not rows:
            return []
        self._readable()
        found = self._load(rows)
        waiting = set(rows)
        key = keys.recipient
        return [one for one in found if keys.row(one, key(one.message.id, one.number)) in waiting]

    def timed_rows(self) -> Rows:
        """The index rows as they are at this instant, to be gone through in steps."""
        self._young.list_all()
        self._readable()
        return self._store.index_rows()

    def late_rows(self, start: bytes, stop: bytes, limit: int) -> list[bytes]:
        """Index rows between two keys, those left out that are about to go."""
        self._readable()
        rows = self._store.rows(start, stop, limit)
        return [row for row in rows if not self._cycle.pending(row[-20:])[0]]

    def forget_lane(self, lane: Lane | tuple[int, str, str, str]) -> None:
        """The lane will be read from its beginning: nothing of its backlog is in memory."""
        self._lane_marks.pop(keys.lane(lane), None)

    def expiring(
        self, after_key: bytes, until_us: int, limit: int
    ) -> tuple[list[tuple[bytes, int, int]], bytes]:
        """(id, rno, expiry time) up to `until_us`, in order of time, and the watermark."""
        self._young.list_expiring(until_us)
        self._readable()
        start, stop = keys.after(after_key) if after_key else b"e", b"e" + keys.u64(until_us + 1)
        rows = self._store.rows(start, stop, limit) if start < stop else []
        mark = rows[-1] if len(rows) == limit else b"e" + keys.u64(until_us) + keys.END
        mark = max(mark, after_key)
        self._expiry_mark = max(self._expiry_mark, keys.timed(mark))
        open_rows = [row for row in rows if self._cycle.pending(row[-20:]) != (True, None)]
        return [(row[-20:-4], keys.parse_u32(row[-4:]), keys.timed(row)) for row in open_rows], mark

    def scan(self, after_key: bytes, limit: int) -> tuple[list[Recipient], bytes]:
        """All recipients in order of their keys, and the key to go on from; none: the end."""
        found: list[Recipient] = []
        while not found:
            self._readable()
            rows = self._store.records(keys.after(after_key), keys.END, limit)
            if not rows:
                break
            after_key = rows[-1][0]
            found = self._from_records(rows)
        return found, after_key

    def search(
        self, after_key: bytes, sieve: Sieve, rows: int, limit: int
    ) -> tuple[list[Recipient], bytes | None]:
        """What `scan` gives, as far as a sieve lets it through, of so many rows at most.

        `limit` is the most that is given back; the key is None at the end.
        """
        self._readable()
        wanted, only = Sifter(sieve), sieve.id
        start = keys.after(max(after_key, only))
        found, after = self._store.sift(start, wanted, rows, limit)
        if only:
            found = [row for row in found if row[0][:16] == only]
            after = after if after is not None and after[:16] == only else None
        return self._from_records(found), after

    # -- beneath

    def _readable(self) -> None:
        if not self._cycle.settle():
            raise SpoolBusyError(f"the spool is being reopened: {self._cycle.problem}")

    def _some(self, start: bytes, stop: bytes, limit: int) -> list[Recipient]:
        """The first recipients of the rows from `start`, past rows that lead to none."""
        while start < stop:
            self._readable()
            rows = self._store.rows(start, stop, limit)
            if not rows:
                break
            found = self._load(rows)
            if found:
                return found
            start = keys.after(rows[-1])
        return []

    def _with_pending(
        self, rows: list[bytes], start: bytes, stop: bytes, limit: int
    ) -> list[bytes]:
        """`rows` and those between `start` and `stop` that wait for their frame, in order."""
        known: dict[bytes, Recipient | None] = {}
        for frame in self._cycle.frames():  # the newest has the last word
            known = frame.changing | known
        waiting = {keys.row(r, key) for key, r in known.items() if r is not None}
        return sorted({*rows, *(row for row in waiting if start <= row < stop)})[:limit]

    def _load(self, rows: list[bytes]) -> list[Recipient]:
        """The recipients of index rows; rows that are obsolete are left out, and such as cannot be
        read."""
        values = self._values([row[-20:] for row in rows])
        found = []
        for at, row in enumerate(rows):
            key = row[-20:]
            try:
                value = values[at] if values else self._store.get(self._store.messages, key)
                recipient = self._of_row(row, key, value)
            except SpoolBusyError:
                raise
            except SpoolError as error:
                self._unread.note(row, error)
            else:
                if recipient is not None:
                    found.append(recipient)
        return found

    def _values(self, wanted: list[bytes]) -> list[bytes | None]:
        """Values of `messages`; none where not all can be read: each is to be read alone."""
        try:
            return self._store.get_many(self._store.messages, wanted) if wanted else []
        except SpoolBusyError:
            raise
        except SpoolError:
            return []

    def _of_row(self, row: bytes, key: bytes, value: bytes | None) -> Recipient | None:
        """As it is in memory while its change waits; None where a row is obsolete."""
        changing, recipient = self._cycle.pending(key)
        if not changing:
            return self._from_row(row, key, value)
        return recipient if recipient is not None and keys.row(recipient, key) == row else None

    def _from_row(self, row: bytes, key: bytes, value: bytes | None) -> Recipient | None:
        if value is None:  # what is left of a recipient that was set aside
            self._cycle.moves.remove(key, row)
            self._cycle.kick()
            return None
        return self._decoded(key, value, row)

    def _from_records(self, rows: list[tuple[bytes, bytes]]) -> list[Recipient]:
        """The recipients among records, those with pending changes as they are in memory."""
        found = []
        for key, value in rows:
            if len(key) != keys.KEY_SIZE:
                continue
            changing, recipient = self._cycle.pending(key)
            if not changing:
                try:
                    recipient = self._decoded(key, value)
                except SpoolDamagedError:  # its envelope
                    continue
            if recipient is not None:
                found.append(recipient)
        return found

    def _decoded(self, key: bytes, value: bytes, row: bytes = b"") -> Recipient | None:
        id, number = key[:16], keys.parse_u32(key[16:])
        if record.is_alone(value):
            message = self._decoded_message(id, value, row)
            if message is None:
                return None
        else:
            message = self.message(id)
        if message is None:
            if not self._cycle.pending(key)[0]:
                self._corrupt.message(id, b"", "its envelope is missing", row)
            return None
        try:
            return record.decode_recipient(message, number, value)
        except RecordError as error:
            self._corrupt.recipient(message, key, value, str(error), row)
            return None

    def _decoded_message(self, id: bytes, value: bytes, row: bytes = b"") -> Message | None:
        try:
            message = record.decode_envelope(id, value)
        except RecordError as error:
            self._corrupt.message(id, value, str(error), row)
            return None
        if message.total > 1:
            self._messages[id] = message
        return message

    def _lanes(self, start: bytes) -> list[tuple[bytes, Lane]]:
        """Some lanes from `start` on, each with its prefix, skipping from one to the next."""
        lanes: list[tuple[bytes, Lane]] = []
        while len(lanes) < LANES_AT_A_TIME:
            rows = self._store.rows(start, b"c", 1)
            if not rows:
                break
            lane, prefix, _ = keys.parse_backlog(rows[0])
            lanes.append((prefix, lane))
            start = keys.above(prefix)
        return lanes
