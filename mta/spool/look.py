"""What the files of a shard's RocksDB hold, found before it is opened and without a change.

RocksDB itself would open what has lost something: a log file that is missing or shorter than it
was, a MANIFEST without its end, no CURRENT at all, and would remove the files that it then thinks
are left over. So what it may do is proven first. The files of tables hold every batch up to a
number; those of the write-ahead log go on from there without a gap, up to what can be read; and
that reaches the last batch that was synced, as later batches and the log's mark tell. What lies
behind was acknowledged to nobody, and is cut off.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rocksdict import AccessType

from mta.errors import SpoolDamagedError
from mta.spool import keys, rocks, wal
from mta.spool.options import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

    from mta.spool.wal import Wal

TABLES = ".sst"
PIECE = 1 << 20  # octets read at a time


class Cut(NamedTuple):
    """Octets of a log file that are to be cut off, from `end` on."""

    path: Path
    end: int


@dataclass
class Look:
    """What a shard's files hold."""

    folder: Path
    identity: bytes = b""  # of the database, b"" where none of our batches is in it
    reaches: int = 0  # the last batch that can be read, from the first on without a gap
    required: int = 0  # the last batch that was synced, as far as that is known
    unused: bool = False  # there is no database, or one that nothing was written to
    replaced: bool = False  # the mark was another database's
    cuts: list[Cut] = field(default_factory=list)
    problem: str = ""  # what is damaged, for people
    families: list[str] = field(default_factory=list)  # in the order of their numbers
    left_over: list[str] = field(default_factory=list)  # tables that the MANIFEST does not name

    @property
    def lost(self) -> int:
        """How many batches that were synced are not there."""
        return self.required - self.reaches if self.required > self.reaches else 0


def look(folder: Path, mark: keys.Mark | None) -> Look:
    """Look at a shard's folder; what is wrong with it is in `problem`. SpoolError, OSError."""
    found = Look(folder)
    tables = _tables(folder, found)
    if tables is None:
        found.required = mark.synced if mark is not None else 0
        found.replaced = mark is not None
        return found
    files = (path.name for path in folder.glob(f"*{TABLES}"))
    found.left_over = sorted(name for name in files if name not in tables)
    trail = _Trail(found)
    for one in wal.files(folder):
        trail.follow(one)
    found.identity = found.identity or trail.identity
    if mark is not None:
        found.replaced = mark.identity != found.identity
        found.required = max(found.required, mark.synced)
    if (found.lost or found.replaced) and not found.problem:
        found.problem = trail.problem or _unnamed(found)
    if not found.problem:
        found.cuts = trail.cuts
    return found


class _Trail:
    """Follows the batches through the files of the log."""

    def __init__(self, found: Look) -> None:
        self._found = found
        self.identity = b""
        self.problem = ""  # it matters only if what was synced is not reached
        self.cuts: list[Cut] = []
        self._gap = False

    def follow(self, one: Wal) -> None:
        """Go on with the next file."""
        end = 0  # octets that are needed, or harmless
        for batch in one.read():
            if self._is_foreign(batch.mark):
                self._found.problem = (
                    f"{one.path.name} is the write-ahead log of another database: was it exchanged?"
                    " Put its own back, if it is anywhere"
                )
                return
            if self._takes(batch.mark):
                end = batch.end
        if self._gap or one.bad is not None:
            self._ends_badly(one, end)

    def _is_foreign(self, mark: keys.Mark | None) -> bool:
        """Whether a batch was written to another database: RocksDB would apply it all the same."""
        mine = self._found.identity or self.identity
        return mark is not None and mine not in (b"", mark.identity)

    def _takes(self, mark: keys.Mark | None) -> bool:
        """Whether a batch follows the last one; False from the first gap on."""
        found = self._found
        if mark is None:  # of a version that did not number them
            return not self._gap
        self.identity = self.identity or mark.identity
        found.required = max(found.required, mark.synced)
        if mark.number > found.reaches + 1 and not self._gap:
            self._gap = True
            self.problem = self.problem or (
                f"the batches of the write-ahead log between {found.reaches} and {mark.number} "
                "are missing"
            )
        if self._gap:
            return False
        found.reaches = max(found.reaches, mark.number)
        return True

    def _ends_badly(self, one: Wal, end: int) -> None:
        if one.bad is None:  # behind a gap
            self.cuts.append(Cut(one.path, end))
            return
        self.cuts.append(Cut(one.path, min(end, one.end)))
        synced = [batch.mark.synced for batch in one.behind() if batch.mark is not None]
        self._found.required = max(self._found.required, *synced, 0)
        if synced or not one.cut:
            self.problem = self.problem or (
                f"{one.path.name} cannot be read from octet {one.bad} on, and mail that was "
                "acknowledged lies behind it"
            )


def _tables(folder: Path, found: Look) -> set[str] | None:
    """Look at the files of tables, without the log; None where that says all there is to say."""
    errors = rocks.Errors(folder)
    try:
        with errors:
            found.families = (
                rocks.list_families(folder) if (folder / rocks.CURRENT).exists() else []
            )
        if set(found.families) != set(FAMILIES):
            found.problem = _incomplete(folder, found)
            return None
        with errors:  # nothing in the folder of all shards is a write-ahead log: none is read
            read_only = AccessType.read_only(False)
            db = rocks.open_existing(folder, read_only, wal_folder=folder.parent)
        try:
            with errors:
                return _listed(db, found)
        finally:
            db.close()
    except SpoolDamagedError as error:
        found.problem = error.what
        return None


def _listed(db: Any, found: Look) -> set[str]:
    """Take down how far the tables go; their names."""
    row = db.get(keys.BATCH)
    if row is not None:
        mark = keys.parse_batch(row)
        found.identity, found.reaches, found.required = mark.identity, mark.number, mark.synced
    return {str(file["name"]).lstrip("/") for file in db.live_files()}


def _incomplete(folder: Path, found: Look) -> str:
    """What is wrong with a database that lacks families: nothing if it never had any mail."""
    batches = (batch for one in wal.files(folder) for batch in one.read())
    if next(folder.glob(f"*{TABLES}"), None) is None and next(batches, None) is None:
        found.unused = True
        return ""
    if not found.families:
        return f"the file {rocks.CURRENT} is missing"
    return f"the MANIFEST has lost its end: of the families it names {', '.join(found.families)}"


def _unnamed(found: Look) -> str:
    """Files of tables that the MANIFEST does not name may be what was lost."""
    return f"the MANIFEST does not name {', '.join(found.left_over)}" if found.left_over else ""


def cut(found: Look, copies: Path) -> list[str]:
    """Cut off what was acknowledged to nobody; what was done, for people. OSError.

    Octets that are not all zero are copied to the folder `copies` before.
    """
    lines = []
    for path, end in found.cuts:
        octets = path.stat().st_size - end
        kept = _copy(path, end, copies)
        with open(path, "r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())
        where = f", copied to {kept}" if kept else ""
        lines.append(f"{path}: {octets} octets that were never acknowledged are cut off{where}")
    return lines


def _copy(path: Path, start: int, copies: Path) -> Path | None:
    """A copy of the end of a file; None, and no copy, where it is nothing but zeros."""
    with open(path, "rb") as file:
        file.seek(start)
        if not any(any(part) for part in iter(partial(file.read, PIECE), b"")):
            return None
        copies.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = copies / f"{path.parent.name}-{path.name}-from-{start}"
        file.seek(start)
        with open(kept, "wb") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
    return kept
