"""Which segment files a shard must have: a row for each, so that a start can tell at once.

The row `segment` + number is written before anything names the file, in the same log of the
database, and is deleted durably before the file gets another name or is removed. So a row without
a file means that somebody or something took the file away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mta._speedups import bodylog
from mta.errors import ContentsMissingError, SpoolError
from mta.model import id_shard
from mta.spool import keys, record, rocks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mta.spool.store import Store

SUFFIX = ".bodies"
LAST = (1 << 32) - 1
SEEN = 1000  # records that are looked at where neither rows nor files are
NAMED = 5  # files that an error names


class Stock(NamedTuple):
    """What is known of a shard's segments at its opening."""

    newest: int  # number that was given last: none is given twice
    lost: frozenset[int]  # numbers that an operator has given up


def take(store: Store, folder: Path) -> Stock:
    """Compare rows and files; ContentsMissingError if a file is missing, and nothing is changed."""
    rows = _units(store.settings(keys.SEGMENT, keys.above(keys.SEGMENT)))
    for number in rows:
        path = folder / f"{number:010}{SUFFIX}"
        if (shard := _owner(path)) not in (None, store.number):
            raise ContentsMissingError(
                f"{path} has contents of shard {shard}: was it exchanged? This shard serves nothing"
                " and changes nothing until its own is put back; a running server looks again"
            )
    lost = [key[-4:] for key, _ in store.settings(keys.LOST, keys.above(keys.LOST))]
    numbers = frozenset(keys.parse_u32(number) for number in lost)
    files = _files(folder)
    missing = _missing(rows, files)
    # Where batches are lost, one that deleted a row may be: counting finds what is needed.
    trusted = not (store.found.lost or store.found.replaced)
    if trusted and (missing or not (rows or folder.is_dir()) and _needed(store, numbers)):
        raise ContentsMissingError(_refusal(folder, missing, len(rows)))
    known = keys.parse_u32(store.get(store.default, keys.NEWEST) or bytes(4))
    newest = max(known, *rows, *files, *numbers, 0)
    new = files.keys() - rows.keys() - set(missing)
    if missing or new or newest != known:
        batch = store.batch()
        for number in missing:
            batch.delete(keys.segment(number))
        for number in new:
            batch.put(keys.segment(number), keys.u32(files[number]))
        batch.put(keys.NEWEST, keys.u32(newest))
        store.write(batch)
    return Stock(newest, numbers)


def lacking(rows: Iterable[tuple[bytes, bytes]], folder: Path) -> list[int]:
    """The segments that have a row among those of `default`, and whose file is not whole there."""
    return _missing(_units(row for row in rows if row[0].startswith(keys.SEGMENT)), _files(folder))


def number_of(name: str) -> int:
    """The number of a segment file; 0 if that is no name of one."""
    stem = name.removesuffix(SUFFIX)
    number = int(stem) if stem.isdecimal() and stem != name else 0
    return number if number <= LAST else 0


def _units(rows: Iterable[tuple[bytes, bytes]]) -> dict[int, int]:
    """Units by number."""
    return {keys.parse_u32(key[-4:]): keys.parse_u32(value) for key, value in rows}


def _files(folder: Path) -> dict[int, int]:
    """Units by number; SpoolError if the folder is there and cannot be read."""
    try:
        sizes = {number_of(path.name): path.stat().st_size for path in folder.iterdir()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SpoolError(f"{folder} cannot be read: {error.strerror}") from error
    return {number: size // bodylog.UNIT for number, size in sizes.items() if number}


def _owner(path: Path) -> int | None:
    """The shard whose message a file begins with; None if it does not tell."""
    try:
        with open(path, "rb") as file:
            found = bodylog.header(file.read(bodylog.HEADER))
    except OSError:
        return None
    return id_shard(found[1]) if found is not None else None


def _missing(rows: dict[int, int], files: dict[int, int]) -> list[int]:
    """Numbers whose file is not there, or shorter than it was."""
    return sorted(number for number, units in rows.items() if files.get(number, -1) < units)


def _needed(store: Store, lost: frozenset[int]) -> bool:
    """Whether a message needs the folder, in a shard that a version without these rows has kept."""
    for key, value in store.records(b"", keys.END, SEEN):
        place = record.place(value)[0] if record.has_envelope(key, value) else 0
        placed = place and place >> 32 not in lost
        if placed and store.get(store.bodies, key[: keys.ID_SIZE]) is None:
            return True
    return False


def _refusal(folder: Path, missing: list[int], rows: int) -> str:
    names = ", ".join(f"{number:010}{SUFFIX}" for number in missing[:NAMED])
    names += ", ..." * (len(missing) > NAMED)
    what = f"{len(missing)} of {rows} files with contents of mail are missing or cut short: {names}"
    if not missing:
        what = "the folder with the contents of mail is missing"
    return (
        f"{folder}: {what}. This shard serves nothing and changes nothing until they are back: "
        "mount or copy back what is missing; a running server looks for it again and again. If it "
        f"is gone for good, `mta spool repair{rocks.option(folder.parent)}` has the senders of "
        "that mail told"
    )
