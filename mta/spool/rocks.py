"""What rocksdict raises, whose text is all that it tells, as our errors."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from rocksdict import AccessType, DbClosedError, Rdict, ReadOptions

from mta.errors import SpoolBusyError, SpoolDamagedError, SpoolError, SpoolLockedError
from mta.spool import keys
from mta.spool.options import FAMILIES, ShardOptions, database_options

if TYPE_CHECKING:
    from pathlib import Path

CURRENT = "CURRENT"  # the file that names the MANIFEST
SIZE = 8 * keys.KEY_SIZE  # bits of a key
MEMORY = 4 << 20  # octets for a database that is only looked at
WHAT_TO_DO = (
    "It is left as it is, so that no mail is lost unseen: `mta spool check{0}` tells what is "
    "wrong, `mta spool repair{0}` saves what can be saved; or restore the folder from a copy"
)
# How texts begin that tell of the files' content, not of a disk or a limit that may pass.
_DAMAGE = ("Corruption", "Invalid argument", "IO error: No such file")


class StallError(SpoolBusyError):
    """RocksDB would have made the writer wait; nothing was written."""


class Errors:
    """A context that raises what is meant for people, about the shard in `folder`."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, SpoolError):
            raise self._translated(error) from None

    def _translated(self, error: BaseException) -> BaseException:
        text = str(error)
        if isinstance(error, DbClosedError):
            return SpoolBusyError(f"{self._folder} is closed or being reopened")
        if not isinstance(error, Exception) or type(error) is not Exception:
            return error
        if "Incomplete" in text or "Write stall" in text:
            return StallError(f"{self._folder}: RocksDB stalls writes: {text}")
        if text.startswith(_DAMAGE):
            return damaged(self._folder, text)
        if "/LOCK" in text:
            return SpoolLockedError(f"{self._folder}: {text}")
        return SpoolError(f"{self._folder}: {text}")


def damaged(folder: Path, what: str) -> SpoolDamagedError:
    """The error that refuses a shard."""
    advice = WHAT_TO_DO.format(option(folder))
    return SpoolDamagedError(f"{folder} is damaged: {what}. {advice}", what)


def option(folder: Path) -> str:
    """What names a shard to a command: others may be in use."""
    number = folder.name.removeprefix("shard-")
    return f" --shard {int(number)}" if number.isdecimal() else ""


def behind(family: Any, key: bytes) -> bytes | None:
    """From where on reading is possible behind a damaged block, which an iterator met at `key`;
    None if it is the last. About two hundred seeks."""
    start = int.from_bytes(key.ljust(keys.KEY_SIZE, b"\0")[: keys.KEY_SIZE], "big")
    step = 1
    while not _reads(family, start + step):
        step <<= 4
        if start + step >= 1 << SIZE:
            return None
    low, high = start + (step >> 4), start + step
    while high - low > 1:
        middle = (low + high) // 2
        if _reads(family, middle):
            high = middle
        else:
            low = middle
    return high.to_bytes(keys.KEY_SIZE, "big")


def _reads(family: Any, number: int) -> bool:
    rows = family.iter(ReadOptions())
    try:
        rows.seek(number.to_bytes(keys.KEY_SIZE, "big"))
        rows.status()
    except Exception:  # noqa: BLE001 - all that rocksdict raises
        return False
    return True


def pass_cache(folder: Path) -> None:
    """Have what is read of the tables next come from the disk: pages in memory may be wrong."""
    for path in folder.glob("*.sst"):
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def open_existing(
    folder: Path,
    access: AccessType | None = None,
    *,
    wal_folder: Path | None = None,
    options: ShardOptions | None = None,
) -> Any:
    """A database that exists, opened; what rocksdict raises."""
    families = database_options(options or ShardOptions(memory_bytes=MEMORY))
    if wal_folder is not None:
        for family in families.values():
            family.set_wal_dir(str(wal_folder))
    return Rdict(
        str(folder), families["default"], families, access_type=access or AccessType.read_write()
    )


def create(folder: Path, options: ShardOptions) -> None:
    """Make a database, or go on with one that a crash left half made; what rocksdict raises.

    The families get their numbers in the order of `FAMILIES`.
    """
    families = database_options(options)
    families["default"].create_if_missing(True)
    existing = list_families(folder) if (folder / CURRENT).exists() else ["default"]
    db = Rdict(str(folder), families["default"], {name: families[name] for name in existing})
    try:
        for name in FAMILIES:
            if name not in existing:
                db.create_column_family(name, families[name]).close()
    finally:
        db.close()


def list_families(folder: Path) -> list[str]:
    """The column families of a database in their order; what rocksdict raises."""
    listed: list[str] = Rdict.list_cf(str(folder))
    return listed
