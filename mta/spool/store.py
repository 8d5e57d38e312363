"""The RocksDB of one shard: opening, writing, iterating, with errors that say what they are."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from rocksdict import ReadOptions, WriteBatch

from mta.errors import (
    SpoolBusyError,
    SpoolDamagedError,
    SpoolError,
    SpoolLockedError,
    SpoolVersionError,
)
from mta.spool import keys, rocks
from mta.spool.ballast import Ballast
from mta.spool.look import Look, cut, look
from mta.spool.options import FAMILIES, ShardOptions, write_options
from mta.spool.rocks import Errors, damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Wanted = Callable[[bytes, bytes], bool]  # key and value of a row

LAYOUT = 3
OLDEST = 2  # lacks the rows of `mta.spool.stock`, which an opening adds
LOCK_FILE = "shard.lock"
OPENING = 4 << 20  # octets that opening takes beside what is in the WAL
FILES = 16  # files that opening makes
PROVEN = 1000  # damaged blocks that are remembered


class Held(NamedTuple):
    """What the database has, in octets."""

    memory: int  # to be written by a flush
    active: int  # the part of it that no flush has begun to write
    tables: int
    recipients: int  # rows of recipients and envelopes, estimated; a count


class Store:
    """Column families as attributes; a handle of each for batches.

    Every batch has a number, one more than the last; `synced` is that of the last one that is on
    the disk for sure. `mark` is what the log has kept of that (`keys.Mark`): what it names must be
    there. Where it is not, and may still lie in damaged files, the shard is refused; where it is
    gone, `found` tells that.
    """

    def __init__(
        self, folder: Path, number: int, options: ShardOptions, mark: keys.Mark | None = None
    ) -> None:
        self.folder, self.number, self.options = folder, number, options
        self.corrupt = options.corrupt_folder or folder.parent.parent / "corrupt"
        self._write_options = write_options()
        self._errors = Errors(folder)
        if repairing(folder).exists():
            command = f"`mta spool repair{rocks.option(folder)}`"
            raise damaged(folder, f"a repair of it was not finished: {command} goes on")
        _make(folder)
        self._lock = _lock(folder / LOCK_FILE)
        self.ballast = Ballast(folder, options.ballast_bytes)
        self.is_open = False
        self._db: Any = None
        self._families: list[Any] = []
        self._flushing = threading.Lock()
        self._iterators: WeakSet[Places | Rows] = WeakSet()  # that outlive a turn of the loop
        self.identity, self.written, self.synced = b"", 0, 0
        self.notes: list[str] = []  # what was done to the files, for people
        self.damage = ""  # what RocksDB says of the damaged block that was found last
        self._proven: set[str] = set()  # the same of all of them
        self._holes: dict[str, bytes | None] = {}  # and the last keys that they take
        try:
            self.found = self._open(mark)
            self.epoch = self._check()
        except BaseException:
            self.close()
            raise

    def reopen(self) -> None:
        """Open the database anew, after it went read-only or was closed."""
        self._close_database()
        found = self._open(keys.Mark(self.identity, self.synced))
        if found.lost or found.replaced:
            self._close_database()
            raise damaged(self.folder, f"{found.lost} batches that were synced are gone")

    def _open(self, mark: keys.Mark | None) -> Look:
        """Open the database, on a full disk with the room that the ballast had."""
        if not self._may_open():
            self.ballast.give_up()
        try:
            return self._open_once(mark)
        except (OSError, SpoolError) as error:
            if not self.ballast.relieve(error):
                raise
        return self._open_once(mark)

    def _may_open(self) -> bool:
        """Whether the disk has room for what opening writes: the content of the WAL, as tables."""
        found = os.statvfs(self.folder)
        wanted = OPENING + sum(path.stat().st_size for path in self.folder.glob("*.log"))
        files = not found.f_files or found.f_favail >= FILES
        return files and found.f_bavail * found.f_frsize >= wanted

    def _open_once(self, mark: keys.Mark | None) -> Look:
        """Prove that nothing is lost by it, then open the database."""
        found = look(self.folder, mark)
        if found.problem:
            raise damaged(self.folder, found.problem)
        self.notes += cut(found, self.corrupt)
        with self._errors:
            if found.unused:
                rocks.create(self.folder, self.options)
            self._db = rocks.open_existing(self.folder, options=self.options)
            # point: a database is opened
        self._families = [self._db.get_column_family(name) for name in FAMILIES]
        self.default, self.bodies, self.messages, self.index = self._families
        self.handles = [self._db.get_column_family_handle(name) for name in FAMILIES]
        self.in_bodies = self.handles[1]
        self.is_open = True
        self._number(found)
        return found

    def _number(self, found: Look) -> None:
        """Go on with the numbers of batches from what was read."""
        row = self.get(self.default, keys.BATCH)
        last = keys.parse_batch(row) if row else keys.Mark(secrets.token_bytes(8), 0)
        if last.number < found.reaches:
            raise damaged(
                self.folder, f"RocksDB reads batches up to {last.number} of {found.reaches}"
            )
        self.identity, self.written = last.identity, last.number

    @property
    def mark(self) -> bytes:
        """What the log is to keep, with a frame that is written now."""
        return keys.mark(self.identity, self.synced)

    def batch(self) -> WriteBatch:
        """The next batch, to be filled and written."""
        batch = WriteBatch(raw_mode=True)
        batch.put(keys.BATCH, keys.batch(self.identity, self.written + 1, self.synced))
        return batch

    def write(self, batch: WriteBatch) -> None:
        """Apply a batch, unsynced; StallError or SpoolError. The batch is used up either way."""
        with self._errors:
            self._db.write(batch, self._write_options)
        self.written += 1

    def sync(self) -> None:
        """Make every write so far durable; leaves the GIL while the disk works."""
        written = self.written
        with self._errors:
            self._db.flush_wal(True)
        self.synced = written

    def begin_flush(self) -> None:
        """Have what is in memory written to tables, so that the WAL goes; may wait for a moment."""
        with self._flushing, self._errors:
            for family in self._families:
                family.flush(False)

    def held(self) -> Held:
        """How much there is."""
        families = self._families
        self._opened(families or None)

        def total(name: str, families: list[Any] = families) -> int:
            return sum(one.property_int_value(f"rocksdb.{name}") or 0 for one in families)

        with self._errors:
            return Held(
                total("cur-size-all-mem-tables"),
                total("cur-size-active-mem-table"),
                total("live-sst-files-size"),
                total("estimate-num-keys", families[2:3]),
            )

    def get(self, family: Any, key: bytes) -> bytes | None:
        """The value of one key, or None; SpoolError when it cannot be read."""
        try:
            with self._errors:
                value: bytes | None = self._opened(family).get(key)
        except SpoolDamagedError as error:
            with self._anew(error):
                value = self._opened(family).get(key)
        return value

    def get_many(self, family: Any, wanted: list[bytes]) -> list[bytes | None]:
        """Values in the order of the keys, None where there is none."""
        with self._errors:
            values: list[bytes | None] = self._opened(family).get(wanted)
        return values

    @contextlib.contextmanager
    def _anew(self, error: SpoolDamagedError) -> Iterator[None]:
        """A second reading, past the page cache, of what seemed to be damaged; its error is proof.

        What has been proven is not read a second time again.
        """
        if error.what in self._proven:
            raise error
        rocks.pass_cache(self.folder)
        try:
            with self._errors:
                yield
        except SpoolDamagedError as again:
            self.damage = again.what
            if len(self._proven) < PROVEN:
                self._proven.add(again.what)
            raise

    def rows(self, start: bytes, stop: bytes, limit: int) -> list[bytes]:
        """At most `limit` index keys from `start` up to but without `stop`."""
        return [key for key, _ in self._slice(self.index, start, stop, limit, values=False)]

    def records(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` keys and values of `messages` from `start` up to but without `stop`."""
        return self._slice(self.messages, start, stop, limit)

    def places(self) -> Places:
        """The rows of recipients as they are at this instant, to be counted."""
        places = Places(self._opened(self.index).iter(), self._errors)
        self._iterators.add(places)
        return places

    def index_rows(self) -> Rows:
        """The index rows as they are at this instant."""
        rows = Rows(self._opened(self.index).iter(), self._errors)
        self._iterators.add(rows)
        return rows

    def settings(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        """Keys and values of `default` from `start` up to but without `stop`."""
        return self._slice(self.default, start, stop, 1 << 31)

    def sizes(self, family: Any, start: bytes, stop: bytes) -> list[tuple[bytes, int]]:
        """Keys of a family from `start` up to but without `stop`, each with its value's length."""
        options = ReadOptions()
        options.set_iterate_upper_bound(stop)
        found: list[tuple[bytes, int]] = []
        with self._errors:
            at = self._opened(family).iter(options)
            at.seek(start)
            while at.valid():
                found.append((at.key(), len(at.value())))
                at.next()
            at.status()
        return found

    def _slice(
        self, family: Any, start: bytes, stop: bytes, limit: int, *, values: bool = True
    ) -> list[tuple[bytes, bytes]]:
        """SpoolDamagedError where a block is damaged: the plain iterators would just end there."""
        try:
            with self._errors:
                return self._sliced(family, start, stop, limit, values=values)
        except SpoolDamagedError as error:
            with self._anew(error):
                return self._sliced(family, start, stop, limit, values=values)

    def _sliced(
        self, family: Any, start: bytes, stop: bytes, limit: int, *, values: bool
    ) -> list[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_iterate_upper_bound(stop)
        found: list[tuple[bytes, bytes]] = []
        at = self._opened(family).iter(options)
        at.seek(start)
        while len(found) < limit and at.valid():
            found.append((at.key(), at.value() if values else b""))
            at.next()
        at.status()
        return found

    def sift(
        self, start: bytes, wanted: Wanted, rows: int, limit: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """Of at most `rows` rows of `messages` from `start` on at most `limit` that are wanted.

        With them the last key that was looked at, None at the end. A damaged block is passed over.
        """
        found: list[tuple[bytes, bytes]] = []
        key = start
        try:
            with self._errors:
                at = self._opened(self.messages).iter()
                at.seek(start)
                for _ in range(rows):
                    if not at.valid():
                        at.status()
                        return found, None
                    key, value = at.key(), at.value()
                    if wanted(key, value):
                        found.append((key, value))
                        if len(found) >= limit:
                            break
                    at.next()
        except SpoolDamagedError as error:
            return found, self._behind(key, error)
        return found, key

    def _behind(self, key: bytes, error: SpoolDamagedError) -> bytes | None:
        """The key behind which `messages` can be read again, None if it cannot."""
        if error.what not in self._holes:
            self.damage = error.what
            if len(self._holes) >= PROVEN:
                self._holes.clear()
            end = rocks.behind(self.messages, key)
            self._holes[error.what] = None if end is None else keys.before(end)
        return self._holes[error.what]

    def last_record(self) -> bytes:
        """The largest key of `messages`, b"" if there is none."""
        with self._errors:
            at = self._opened(self.messages).iter()
            at.seek_to_last()
            key: bytes = at.key() if at.valid() else b""
            at.status()
        return key

    def _opened(self, family: Any) -> Any:
        """The family; SpoolBusyError while there is none, in whichever thread that is seen."""
        if family is None:
            raise SpoolBusyError(f"{self.folder} is closed or being reopened")
        return family

    def close(self) -> None:
        """Close the database and give the lock back."""
        self._close_database()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close_database(self) -> None:
        """Drop every handle; a failing last flush leaves its data in the WAL.

        Whoever still had one would keep the database at work on the files that are looked at next.
        """
        self.is_open = False
        for iterator in list(self._iterators):
            iterator.end()
        with self._flushing:
            families, self._families = self._families, []
            self.default = self.bodies = self.messages = self.index = None
            self.handles, self.in_bodies = [], None
            db, self._db = self._db, None
            for handle in [*families, db] if db is not None else families:
                with contextlib.suppress(Exception):
                    handle.close()

    def _check(self) -> int:
        """Refuse what is not this shard in this layout; the new epoch."""
        layout = self.get(self.default, keys.FORMAT)
        if layout is not None and keys.parse_u32(layout) > LAYOUT:
            raise SpoolVersionError(
                f"{self.folder} has spool layout {keys.parse_u32(layout)}, this version knows "
                f"{LAYOUT}: run the version that wrote it, or a later one"
            )
        if layout is not None and keys.parse_u32(layout) < OLDEST:
            raise SpoolVersionError(
                f"{self.folder} has spool layout {keys.parse_u32(layout)}, which no release had: "
                "run the version that wrote it until its queue is empty"
            )
        number = self.get(self.default, keys.SHARD)
        if number is not None and keys.parse_u32(number) != self.number:
            raise SpoolError(
                f"{self.folder} holds shard {keys.parse_u32(number)}, not {self.number}: "
                "was it renamed? Give it its own name back"
            )
        epoch = keys.parse_u64(self.get(self.default, keys.EPOCH) or bytes(8)) + 1
        batch = self.batch()
        batch.put(keys.FORMAT, keys.u32(LAYOUT))
        batch.put(keys.SHARD, keys.u32(self.number))
        batch.put(keys.EPOCH, keys.u64(epoch))
        self.write(batch)
        self.sync()
        return epoch


class _Iterator:
    """Sees the database as it was at its start; SpoolBusyError once that has been closed."""

    def __init__(self, rows: Any, errors: Errors) -> None:
        self._rows, self._errors = rows, errors

    def end(self) -> None:
        """Let go of the database."""
        self._rows = None

    def _alive(self) -> Any:
        if self._rows is None:
            raise SpoolBusyError("the database was closed or reopened meanwhile")
        return self._rows


class Places(_Iterator):
    """Counts the recipients of each index."""

    def __init__(self, rows: Any, errors: Errors) -> None:
        super().__init__(rows, errors)
        rows.seek(b"b")

    def step(self, limit: int) -> tuple[bytes, int]:
        """An index's letter and how many of its next rows, at most `limit`; b"" at the end."""
        rows, letter, count = self._alive(), b"", 0
        with self._errors:
            while count < limit and rows.valid():
                found: bytes = rows.key()[:1]
                if found == b"e":  # every recipient has one beside its own
                    rows.seek(b"f")
                    continue
                if letter and found != letter:
                    break
                letter, count = found, count + 1
                rows.next()
            rows.status()
        return letter, count


class Rows(_Iterator):
    """Index rows as they were when this was made."""

    def take(self, start: bytes, stop: bytes, limit: int) -> list[bytes]:
        """At most `limit` keys from `start` up to but without `stop`."""
        rows, found = self._alive(), list[bytes]()
        with self._errors:
            rows.seek(start)
            while len(found) < limit and rows.valid() and (key := rows.key()) < stop:
                found.append(key)
                rows.next()
            rows.status()
        return found


def repairing(folder: Path) -> Path:
    """The file that is there while a shard's folder is being replaced."""
    return folder.with_name(f"{folder.name}.repairing")


def _make(folder: Path) -> None:
    """Make a shard's folder so that a power cut does not take it away again."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for above in (folder.parent, folder.parent.parent):
        opened = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _lock(path: Path) -> int:
    """A descriptor that holds the lock, with our process id in the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise SpoolLockedError(
            f"{path.parent} is in use by process {holder}: stop it, or use another spool"
        ) from None
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
