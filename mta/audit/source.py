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
    from collections.abc import Iterator

    from mta.model import Message

APART = (LOCK_FILE, "rocksdict-config.json", "LOCK")  # not linked
SIZES = 8 * keys.KEY_SIZE  # bits of a key
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


class Source:
    """A shard's database and contents; `close` it.

    `found` is what a start would find. Where that refuses the shard, `tables` are all that is read.
    """

    def __init__(self, folder: Path, mark: keys.Mark | None) -> None:
        self.folder = folder
        self.damage: list[str] = []  # what could not be read
        self._stack = ExitStack()
        self._bodies: dict[int, int] = {}  # descriptors of segments, by their number
        try:
            scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mta-")))
            self.view = scratch / folder.name
            _link(folder, self.view)
            self.found: Look = look(self.view, mark)
            self.found.problem = self.found.problem.replace(str(self.view), str(self.folder))
            self._cut()
            self._db: Any = self._opened()
            self._families = self._handles()
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
        return self._db is not None

    def get(self, family: str, key: bytes) -> bytes | None:
        """A value; None where there is none, or it cannot be read."""
        if self._db is None:
            return None
        try:
            value: bytes | None = self._families[family].get(key)
        except Exception as error:  # noqa: BLE001 - all that rocksdict raises
            self._note(str(error))
            return None
        return value

    def rows(self, family: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All rows from a key on; a damaged block is noted in `damage` and passed over."""
        at: bytes | None = start
        while at is not None and self._db is not None:
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
                at = self._behind(family, max(at, last))
            else:
                return

    def body(self, message: Message) -> bytes | None:
        """The content of a message, None if it is gone or damaged."""
        file = self._bodies.get(message.place >> 32) if message.place else None
        if file is not None:
            at = (message.place & 0xFFFFFFFF) * bodylog.UNIT
            try:
                body = bodylog.read(file, at, message.place >> 32, message.id, message.size)
            except OSError as error:
                self._note(f"{message.place >> 32:010}{SUFFIX}: {error.strerror}")
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
                    self._note(f"{number:010}{SUFFIX}: {error.strerror}")
                    found = None
                if found is None:
                    unit += 1
                    continue
                yield found[0], number << 32 | unit, found[1]
                unit += bodylog.units(len(found[1]))

    # -- beneath

    def _note(self, what: str) -> None:
        what = what.replace(str(self.view), str(self.folder))
        if what not in self.damage:
            self.damage.append(what)

    def _cut(self) -> None:
        """In the view, cut off what a start would cut off."""
        for path, end in self.found.cuts:
            real = path.resolve()
            path.unlink()
            with open(real, "rb") as old, open(path, "wb") as new:
                new.write(old.read(end))

    def _opened(self) -> Any:
        if self.found.unused:
            return None
        folder = None if not self.found.problem else self.view.parent  # no logs are there
        try:
            with rocks.Errors(self.folder):
                db = rocks.open_existing(self.view, AccessType.read_only(False), wal_folder=folder)
        except SpoolError as error:
            if not self.found.problem:  # else that says it
                self._note(str(error))
            return None
        self._stack.callback(db.close)
        return db

    def _handles(self) -> dict[str, Any]:
        if self._db is None:
            return {}
        return {name: self._db.get_column_family(name) for name in FAMILIES}

    def _open_bodies(self) -> None:
        for path in sorted((self.folder / "bodies").glob(f"*{SUFFIX}")):
            if path.stem.isdigit():
                self._bodies[int(path.stem)] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _behind(self, family: str, key: bytes) -> bytes | None:
        """From where on reading is possible behind a damaged block, None if it is the last."""
        start = int.from_bytes(key.ljust(keys.KEY_SIZE, b"\0")[: keys.KEY_SIZE], "big")
        step = 1
        while not self._reads(family, start + step):
            step <<= 4
            if start + step >= 1 << SIZES:
                return None
        low, high = start + (step >> 4), start + step
        while high - low > 1:
            middle = (low + high) // 2
            if self._reads(family, middle):
                high = middle
            else:
                low = middle
        return high.to_bytes(keys.KEY_SIZE, "big")

    def _reads(self, family: str, number: int) -> bool:
        rows = self._families[family].iter(ReadOptions())
        try:
            rows.seek(number.to_bytes(keys.KEY_SIZE, "big"))
            rows.status()
        except Exception:  # noqa: BLE001 - as above
            return False
        return True


def _link(folder: Path, view: Path) -> None:
    """A folder of links to the files of another."""
    view.mkdir()
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file() and path.name not in APART:
            (view / path.name).symlink_to(path.absolute())
