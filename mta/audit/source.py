"""A shard's files as they are, read and never written: what `check` looks at, and `repair` saves.

RocksDB is opened read-only over a folder of links, so that not even its own notes reach the spool.
A block that is damaged ends an iterator of RocksDB; here reading goes on behind it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocksdict import AccessType, ReadOptions

from mta._speedups import bodylog
from mta.errors import SpoolError, SpoolLockedError
from mta.spool import keys, rocks
from mta.spool.look import Look, look
from mta.spool.options import FAMILIES
from mta.spool.store import LOCK_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mta.model import Message

APART = (LOCK_FILE, "rocksdict-config.json", "LOCK")  # not linked
SUFFIX = ".bodies"


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """No server opens a shard meanwhile; SpoolLockedError if one has it open."""
    try:
        lock = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise SpoolLockedError(
            f"{folder} is in use by a running server (process {holder}): stop it first, or name "
            "shards by --shard that it refuses"
        ) from None
    try:
        yield
    finally:
        os.close(lock)


class Database:
    """An open database, read past what is damaged; `note` is told of that."""

    def __init__(self, db: Any, note: Callable[[str], None]) -> None:
        self._families = {name: db.get_column_family(name) for name in FAMILIES}
        self._note = note

    def get(self, family: str, key: bytes) -> bytes | None:
        """A value; None where there is none, or it cannot be read."""
        try:
            value: bytes | None = self._families[family].get(key)
        except Exception as error:  # noqa: BLE001 - all that rocksdict raises
            self._note(str(error))
            return None
        return value

    def rows(self, family: str) -> Iterator[tuple[bytes, bytes]]:
        """All rows; a damaged block is told and passed over."""
        at: bytes | None = b""
        while at is not None:
            last = b""
            try:
                rows = self._families[family].iter(ReadOptions())
                rows.seek(at)
                while rows.valid():
                    last = rows.key()
                    yield last, rows.value()
                    rows.next()
                rows.status()
            except Exception as error:  # noqa: BLE001 - as above
                self._note(str(error))
                at = rocks.behind(self._families[family], max(at, last))
            else:
                return


class Source:
    """A shard's database and contents; `close` it.

    `found` is what a start would find. Where that refuses the shard, the write-ahead log is left
    out of `rows` and `get`.
    """

    def __init__(self, folder: Path, mark: keys.Mark | None) -> None:
        self.folder = folder
        self.damage: list[str] = []  # what could not be read
        self._stack = ExitStack()
        self._bodies: dict[int, int] = {}  # descriptors of segments, by their number
        self._database: Database | None = None
        try:
            self.scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self.view = self.scratch / folder.name
            link(folder, self.view)
            self.found: Look = look(self.view, mark)
            self.found.problem = self.found.problem.replace(str(self.view), str(folder))
            self._cut()
            self._open()
            self._open_bodies()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close everything; the links go."""
        for file in self._bodies.values():
            os.close(file)
        self._bodies.clear()
        self._stack.close()

    @property
    def readable(self) -> bool:
        """Whether there is a database that can be opened."""
        return self._database is not None

    def get(self, family: str, key: bytes) -> bytes | None:
        """A value; None where there is none, or it cannot be read."""
        return self._database.get(family, key) if self._database is not None else None

    def rows(self, family: str) -> Iterator[tuple[bytes, bytes]]:
        """All rows that can be read."""
        if self._database is not None:
            yield from self._database.rows(family)

    def body(self, message: Message) -> bytes | None:
        """The content of a message, None if it is gone or damaged."""
        file = self._bodies.get(message.place >> 32) if message.place else None
        if file is not None:
            at = (message.place & 0xFFFFFFFF) * bodylog.UNIT
            try:
                body = bodylog.read(file, at, message.place >> 32, message.id, message.size)
            except OSError as error:
                self.note(f"{message.place >> 32:010}{SUFFIX}: {error.strerror}")
                return None
            if body is not None:
                return body
        body = self.get("bodies", message.id)
        return body if body is not None and len(body) == message.size else None

    def contents(self) -> Iterator[tuple[bytes, int, bytes]]:
        """(id, place, content) of every whole record in the segments."""
        for number, file in sorted(self._bodies.items()):
            units, unit = os.fstat(file).st_size // bodylog.UNIT, 0
            while unit < units:
                try:
                    at = unit * bodylog.UNIT
                    found = bodylog.read_any(file, at, number, units * bodylog.UNIT)
                except OSError as error:
                    self.note(f"{number:010}{SUFFIX}: {error.strerror}")
                    found = None
                if found is None:
                    unit += 1
                    continue
                yield found[0], number << 32 | unit, found[1]
                unit += bodylog.units(len(found[1]))

    def note(self, what: str) -> None:
        """Remember what could not be read."""
        what = what.replace(str(self.view), str(self.folder))
        if what not in self.damage:
            self.damage.append(what)

    # -- beneath

    def _cut(self) -> None:
        """In the view, cut off what a start would cut off."""
        for path, end in self.found.cuts:
            real = path.resolve()
            path.unlink()
            with open(real, "rb") as old, open(path, "wb") as new:
                new.write(old.read(end))

    def _open(self) -> None:
        if self.found.unused:
            return
        folder = None if not self.found.problem else self.scratch  # no logs are there
        try:
            with rocks.Errors(self.folder):
                db = rocks.open_existing(self.view, AccessType.read_only(False), wal_folder=folder)
        except SpoolError as error:
            if not self.found.problem:  # else that says it
                self.note(str(error))
            return
        self._stack.callback(db.close)
        self._database = Database(db, self.note)

    def _open_bodies(self) -> None:
        for path in sorted((self.folder / "bodies").glob(f"*{SUFFIX}")):
            if path.stem.isdigit():
                self._bodies[int(path.stem)] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def link(folder: Path, view: Path, pattern: str = "*") -> None:
    """A folder of links to the files of another."""
    view.mkdir()
    for path in folder.glob(pattern) if folder.is_dir() else ():
        if path.is_file() and path.name not in APART:
            (view / path.name).symlink_to(path.absolute())
