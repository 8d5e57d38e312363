"""Makes a shard that opens, of all that can be read of one that does not.

A new database is built beside the old: records from the tables (of which RocksDB makes a MANIFEST
where that is gone) and from the write-ahead log, behind damage too; index rows are made anew. What
has its end in the log is left out. What the log knows no end of is looked for among the contents:
where one is whole, the message is made again of its Reception record; the rest is recorded as Lost.
Then the old folder takes another name, and is kept, and the new one takes its place. A file beside
them tells that this is under way: no server opens the shard until it is done, and doing it again
goes on.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
from rocksdict import AccessType, Options, Rdict

from mta.audit import remake, unended
from mta.audit.losses import Loss, Losses
from mta.audit.source import Database, link
from mta.errors import MailraceError, RecordError
from mta.maillog import reader
from mta.maillog.records import RecordWriter
from mta.model import Message, Recipient, id_shard
from mta.spool import encoder, keys, record, rocks, stock, wal
from mta.spool.bodies import FOLDER
from mta.spool.changes import listing
from mta.spool.kept import in_log, unpack
from mta.spool.look import TABLES, look
from mta.spool.options import FAMILIES, ShardOptions
from mta.spool.segments import sync_folder
from mta.spool.store import Store, repairing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mta.audit.source import Source
    from mta.clock import Clock
    from mta.maillog.writer import LogWriter

    Row = tuple[str, bytes, bytes | None]  # family, key, value; None deletes

OPTIONS = ShardOptions(64 << 20, min_free_bytes=0)
AT_ONCE = 500  # rows in a batch
LINES = 4096  # records in a frame
UNLOGGED = 100_000  # rows that are looked at for messages without a Reception
NAMED = 100  # recipients that are named of those that are lost
WHAT = "its files were damaged; `mta spool repair` saved the rest"


class Repaired(msgspec.Struct):
    """What was done."""

    shard: int
    kept: str = ""  # the folder with all that was there before
    recipients: int = 0  # in the new database
    ended: int = 0  # left out: they have their end in the log
    unreadable: int = 0  # records that only the old folder has
    again: int = 0  # made again of their contents and the log
    lost: int = 0  # recorded as Lost
    without: int = 0  # segment files it does without: senders are told when their mail's turn comes
    names: list[str] = msgspec.field(default_factory=list)  # of the first of these


class _Underway(msgspec.Struct):
    """What the file beside the folders says."""

    kept: str
    lost: int


class Repair:
    """Repairs one shard, which nobody else has open."""

    def __init__(
        self,
        source: Source,
        number: int,
        log: LogWriter,
        log_folder: Path,
        lines: RecordWriter,
        clock: Clock,
    ) -> None:
        self._source, self._log, self._log_folder = source, log, log_folder
        self._lines, self._clock = lines, clock
        self._folder = source.folder
        self.result = Repaired(number)
        self._pending: list[bytes] = []  # records
        self._segments: set[int] = set()  # that messages have their contents in

    def run(self, max_age_us: int) -> Repaired:
        """All of it. MailraceError and OSError leave the old folder where it is."""
        new = renewed(self._folder)
        shutil.rmtree(new, ignore_errors=True)
        store = Store(new, self.result.shard, OPTIONS)
        try:
            database = Database(store._db, self._source.note)  # noqa: SLF001 - of our own
            self._fill(store)
            self._log_kept(store)
            self._leave_out_ended(store)
            self._weed(store, database)
            self._make_again(store, max_age_us)
            self._index(store, database)
            self._settle(store, database)
            store.sync()
        finally:
            store.close()
        self._record()
        self.result.kept = begin(self._folder, self.result.lost, self._clock.wall_us())
        finish(self._folder, self._log, self._log_folder, self._clock)
        return self.result

    # -- what there is

    def _fill(self, store: Store) -> None:
        """Records, contents and settings, as the last of what can be read has them."""
        with _tables(self._source) as old:
            row = old.get("default", keys.BATCH) if old is not None else None
            base = keys.parse_batch(row) if row else None
            put(store, self._own(_all_rows(old)) if old is not None else ())
        identities = {one.identity for one in (base, keys.parse_mark(self._log.mark)) if one}
        put(store, self._own(_logged(self._source, base, identities)))

    def _own(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Without the mail of another shard, whose files somebody has put here."""
        for row in rows:
            if row[0] == "default" or id_shard(row[1]) == self.result.shard:
                yield row

    def _log_kept(self, store: Store) -> None:
        """Log what the log could not take: what has its end there is not to be sent again."""
        rows = store.settings(keys.FRAME, keys.above(keys.FRAME))
        known = set(in_log(iter(rows), self._log.since(reader.BEGINNING))) if rows else set()
        for key, packed in rows:
            if key not in known:
                self._log.append(unpack([packed]))
        put(store, (("default", key, None) for key, _ in rows))

    def _leave_out_ended(self, store: Store) -> None:
        put(store, self._ended(store))

    def _ended(self, store: Store) -> Iterator[Row]:
        for id, number, _ in unended.ends(self._log_folder):
            key = keys.recipient(id, number)
            if store.get(store.messages, key) is not None:
                self.result.ended += 1
                yield "messages", key, None

    def _weed(self, store: Store, database: Database) -> None:
        """Take out what cannot be read: it is among the lost then, unless its content is whole."""
        put(store, self._weeds(database))

    def _weeds(self, database: Database) -> Iterator[Row]:
        for id, rows in groups(database):
            readable = read(id, rows)
            for key, _ in rows:
                is_recipient = len(key) == keys.KEY_SIZE
                if readable is None or (is_recipient and key not in readable[1]):
                    self.result.unreadable += 1
                    yield "messages", key, None

    # -- what the log says

    def _make_again(self, store: Store, max_age_us: int) -> None:
        """Put what can be made again of what is missing, and record the rest as Lost."""
        walk = unended.Walk(self._log_folder, (0, 0))
        more = True
        while more:
            for _ in walk.more():
                pass
            missing = {id: one for id, one in walk.open.items() if lacking(store, id, one)}
            contents = remake.contents(self._source, store, missing) if missing else {}
            for id, reception in unended.receptions(self._log_folder, missing):
                numbers = lacking(store, id, missing[id])
                made = remake.made(store, id, reception, numbers, contents.get(id), max_age_us)
                put(store, (row for one in made for row in remake.rows(one)))
                self.result.again += len(made)
                self._lose(reception, sorted(set(numbers) - {one.number for one in made}))
            more = walk.next()

    def _lose(self, reception: dict[str, object], numbers: list[int]) -> None:
        for number in numbers:
            self._pending.append(self._lines.lost(reception, number, WHAT))
            self.result.lost += 1
            if len(self.result.names) < NAMED:
                self.result.names.append(remake.named(reception, number))
            if len(self._pending) >= LINES:
                self._record()

    def _record(self) -> None:
        if self._pending:
            self._log.append(self._pending)
            self._pending = []

    # -- the new database

    def _index(self, store: Store, database: Database) -> None:
        """Make the rows that lead to recipients, and envelopes that count them."""
        put(store, self._rows(database))

    def _rows(self, database: Database) -> Iterator[Row]:
        for id, rows in groups(database):
            readable = read(id, rows)
            if readable is None or not readable[1]:
                yield "messages", id, None
                continue
            message, recipients = readable
            self._segments.add(message.place >> 32)
            if message.total > 1 and message.open != len(recipients):
                message.open = len(recipients)
                yield "messages", id, encoder.encode_envelope(message)
            for key, one in recipients.items():
                self.result.recipients += 1
                for family, row, value in listing(one, key):
                    yield FAMILIES[family], row, value

    def _settle(self, store: Store, database: Database) -> None:
        """What the next start goes by: the whole log is applied, every recipient has its rows."""
        last = store.last_record()
        rows: list[Row] = [
            ("default", keys.LOG, keys.position(*self._log.position)),
            ("default", keys.LISTED, keys.after(last)),
        ]
        for number in stock.lacking(database.rows("default"), self._source.folder / FOLDER):
            rows += [("default", keys.segment(number), None), ("default", keys.lost(number), b"")]
            self.result.without += number in self._segments
        if last:
            rows.append(("default", keys.LOGGED, last[:16] + b"".join(self._unlogged(store))))
        put(store, rows)
        put(store, (("bodies", id, None) for id, _ in database.rows("bodies") if _alone(store, id)))

    def _unlogged(self, store: Store) -> list[bytes]:
        """Messages whose Reception is not in the log: the last ones, and those that wait for it."""
        row = store.get(store.default, keys.LOGGED) or b""
        newest, waiting = row[:16], {row[at : at + 16] for at in range(16, len(row), 16)}
        start = newest + b"\xff" * 5 if newest else b""
        for key, _ in store.records(start, keys.END, UNLOGGED):
            waiting.add(key[:16])
        for id in unended.received(self._log_folder) if waiting else ():
            waiting.discard(id)
        return sorted(id for id in waiting if not _alone(store, id))


# ---------------------------------------------------------------------- beneath


@contextmanager
def _tables(source: Source) -> Iterator[Source | Database | None]:
    """The rows of the tables: as a start reads them, or of all files where it would refuse."""
    if source.readable and not (source.found.problem and source.found.left_over):
        yield source
        return
    scratch = source.scratch / "tables"
    link(source.folder, scratch, f"*{TABLES}")
    if not any(scratch.iterdir()):
        yield None
        return
    with rocks.Errors(source.folder):
        Rdict.repair(str(scratch), Options(raw_mode=True))
        rocks.create(scratch, OPTIONS)  # families that had no table
        db = rocks.open_existing(scratch, AccessType.read_only(False))
    try:
        yield Database(db, source.note)
    finally:
        db.close()


def _all_rows(old: Source | Database) -> Iterator[Row]:
    for family in ("messages", "bodies", "default"):
        for key, value in old.rows(family):
            if _kept(family, key):
                yield family, key, value


def _logged(source: Source, base: keys.Mark | None, identities: set[bytes]) -> Iterator[Row]:
    """What the write-ahead log has behind the tables, behind damage too; `identities` are what the
    database may be."""
    for one in wal.files(source.folder):
        for batch in (*one.read(), *one.behind()):
            if _counts(batch.mark, base, identities):
                yield from _rows(batch)


def _rows(batch: wal.Batch) -> Iterator[Row]:
    for number, key, value in batch.operations():
        kept = (one for one in families(number, key, value) if _kept(one, key))
        yield from ((family, key, value) for family in kept)


def _counts(mark: keys.Mark | None, base: keys.Mark | None, identities: set[bytes]) -> bool:
    """Whether a batch was written to this database, and after its tables."""
    if mark is None:
        return True
    if identities and mark.identity not in identities:
        return False
    return base is None or base.identity != mark.identity or mark.number > base.number


def families(number: int, key: bytes, value: bytes | None) -> tuple[str, ...]:
    """Where a row belongs, by what it is: the MANIFEST, which names the numbers, may be gone.

    A content goes with its envelope, so a deletion of either is one of both.
    """
    if number == 0:
        return ("default",)
    if len(key) == keys.KEY_SIZE:
        return ("messages",)
    if len(key) != keys.ID_SIZE:
        return ()  # an index row
    if value is None:
        return "messages", "bodies"
    try:
        record.decode_envelope(key, value)
    except RecordError:
        return ("bodies",)
    return ("messages",)


def _kept(family: str, key: bytes) -> bool:
    """Whether a row is taken over as it is."""
    if family == "default":
        kept = (keys.ACT, keys.MOVING, keys.SEGMENT, keys.LOST, keys.FRAME)
        return key in (keys.LOGGED, keys.NEWEST) or key.startswith(kept)
    return family in ("messages", "bodies")


def _alone(store: Store, id: bytes) -> bool:
    """Whether a content has no message."""
    messages = store.messages
    first = keys.recipient(id, 0)
    return store.get(messages, id) is None and store.get(messages, first) is None


def put(store: Store, rows: Iterable[Row]) -> None:
    """Write rows in batches."""
    handles = dict(zip(FAMILIES, store.handles, strict=True))
    batch, count = store.batch(), 0
    for family, key, value in rows:
        if value is None:
            batch.delete(key, handles[family])
        else:
            batch.put(key, value, handles[family])
        count += 1
        if count >= AT_ONCE or (value is not None and len(value) > 1 << 20):
            store.write(batch)
            store.sync()
            batch, count = store.batch(), 0
    store.write(batch)


def groups(database: Database) -> Iterator[tuple[bytes, list[tuple[bytes, bytes]]]]:
    """The rows of each message."""
    for id, rows in groupby(database.rows("messages"), lambda row: row[0][:16]):
        yield id, list(rows)


def read(
    id: bytes, rows: list[tuple[bytes, bytes]]
) -> tuple[Message, dict[bytes, Recipient]] | None:
    """A message and its recipients by key, as far as they can be read; None without envelope."""
    value = next((v for key, v in rows if len(key) == 16 or record.is_alone(v)), None)
    try:
        message = record.decode_envelope(id, value or b"")
    except RecordError:
        return None
    found = {}
    for key, value in rows:
        if len(key) == keys.KEY_SIZE:
            try:
                found[key] = record.decode_recipient(message, keys.parse_u32(key[16:]), value)
            except RecordError:
                continue
    return message, found


def lacking(store: Store, id: bytes, one: unended.Unended) -> list[int]:
    """The recipients without an end that are not there."""
    messages = store.messages
    return [n for n in one.numbers() if store.get(messages, keys.recipient(id, n)) is None]


# ---------------------------------------------------------------------- the change of places


def renewed(folder: Path) -> Path:
    """Where a shard is built anew."""
    return folder.with_name(f"{folder.name}.new")


def begin(folder: Path, lost: int, now_us: int) -> str:
    """Say that the folders change places; the name that the old one will have."""
    kept = folder.with_name(f"{folder.name}.damaged-{now_us // 1_000_000}")
    with open(repairing(folder), "wb") as file:
        file.write(msgspec.json.encode(_Underway(kept.name, lost)))
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder.parent)
    return str(kept)


def finish(folder: Path, log: LogWriter, log_folder: Path, clock: Clock) -> None:
    """Change the places, from whatever point a crash has left; then the shard may be opened."""
    path = repairing(folder)
    try:
        underway = msgspec.json.decode(path.read_bytes(), type=_Underway)
    except msgspec.MsgspecError as error:
        raise MailraceError(
            f"{path} cannot be read: {error}. Remove it, and repair again"
        ) from None
    kept, new = folder.with_name(underway.kept), renewed(folder)
    if new.exists() and folder.exists() and not kept.exists():
        folder.rename(kept)
    if (kept / "bodies").exists() and new.exists():
        shutil.rmtree(new / "bodies", ignore_errors=True)
        (kept / "bodies").rename(new / "bodies")
    if new.exists() and not folder.exists():
        new.rename(folder)
    sync_folder(folder.parent)
    found = look(folder, None)
    log.append([], keys.mark(found.identity, found.reaches))
    if underway.lost:
        losses = Losses(log_folder)
        now = clock.wall_us()
        losses.found(Loss(now, WHAT, log.position, compared=True, recipients=underway.lost))
    path.unlink()
    sync_folder(folder.parent)
