"""What a start makes of files that a power cut, a disk or somebody has damaged.

Each case takes the files of a database whose batches 1 to 21 were synced, 22 and 23 written
after that, changes them, and says what a start must do with them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from mta.errors import SpoolDamagedError
from mta.spool import ShardOptions, keys, wal
from mta.spool.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = ShardOptions(16 << 20)
SIZE = 5000  # octets of a batch, so seven in a block
SYNCED = 21
MESSAGES = 2


class Files(NamedTuple):
    """A database as the disk has it, and what the log knows of it."""

    folder: Path
    mark: keys.Mark


def put(store: Store, *, sync: bool) -> None:
    batch = store.batch()
    batch.put(b"%016d" % store.written, os.urandom(SIZE), store.handles[MESSAGES])
    store.write(batch)
    if sync:
        store.sync()


def build(folder: Path, flush_at: int = 0, synced: int = SYNCED) -> keys.Mark:
    """Batches 1 to 23 in `folder/all`; with `flush_at` as it was up to there in `folder/early`."""
    store = Store(folder / "shard-0001", 1, OPTIONS)
    while store.written < SYNCED:
        put(store, sync=store.written < synced)
        if store.written == flush_at:
            shutil.copytree(store.folder, folder / "early" / "shard-0001")
            store._db.flush()
    mark = store.mark
    put(store, sync=False)
    put(store, sync=False)
    shutil.copytree(store.folder, folder / "all" / "shard-0001")
    store.close()
    found = keys.parse_mark(mark)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def plain(folders: Path) -> tuple[Path, keys.Mark]:
    """All of it in one log file."""
    folder = Path(tempfile.mkdtemp(dir=folders))
    return folder, build(folder)


@pytest.fixture(scope="module")
def flushed(folders: Path) -> tuple[Path, keys.Mark]:
    """Batches 1 to 11 in tables, the others in a log file; the state before that beside it."""
    folder = Path(tempfile.mkdtemp(dir=folders))
    return folder, build(folder, flush_at=11)


def taken(made: tuple[Path, keys.Mark], to: Path, which: str = "all") -> Files:
    shutil.copytree(made[0] / which, to / "spool")
    return Files(to / "spool" / "shard-0001", made[1])


def log_of(files: Files) -> Path:
    return wal.files(files.folder)[-1].path


def ends(path: Path) -> dict[int, int]:
    """Where each batch ends."""
    batches = wal.Wal(path).read()
    return {batch.mark.number: batch.end for batch in batches if batch.mark is not None}


def write_at(path: Path, at: int, octets: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(octets)


def opened(files: Files, mark: keys.Mark | None = None) -> Store:
    return Store(files.folder, 1, OPTIONS, mark or files.mark)


def reached(files: Files, mark: keys.Mark | None = None) -> tuple[int, int]:
    """The last batch that is there after a start, and how many synced ones were lost."""
    store = opened(files, mark)
    rows = store.records(b"", b"\xff" * 17, 1000)
    numbers = [int(key) + 1 for key, _ in rows]
    assert numbers == list(range(2, len(rows) + 2))  # 1 is the opening's own
    lost = store.found.lost
    assert store.written > len(rows) + 1  # the opening's, again
    store.close()
    again = opened(files, mark and keys.Mark(mark.identity, 0))
    again.close()
    return len(rows) + 1, lost


# ---------------------------------------------------------------- what a power cut leaves


def end_with(octets: Callable[[], bytes], batch: int = SYNCED) -> Callable[[Path], None]:
    """Cut the log behind a batch and put octets there."""

    def damage(path: Path) -> None:
        end = ends(path)[batch]
        os.truncate(path, end)
        write_at(path, end, octets())

    return damage


def torn_at_512(path: Path) -> None:
    """The sectors of batch 22 up to one in its middle are there, then zeros."""
    end = ends(path)[SYNCED]
    size = path.stat().st_size
    kept = (end + SIZE // 2) // 512 * 512
    os.truncate(path, kept)
    os.truncate(path, size)


def reordered(path: Path) -> None:
    """Batch 22 is zeros, 23 was written: neither was synced."""
    at = ends(path)
    write_at(path, at[SYNCED], bytes(at[22] - at[SYNCED]))


POWER_CUTS: dict[str, Callable[[Path], None]] = {
    "nothing was lost": lambda path: None,
    "cut at the end of a batch": end_with(lambda: b""),
    "cut in a batch": lambda path: os.truncate(path, ends(path)[22] - 100),
    "cut in a header": lambda path: os.truncate(path, ends(path)[SYNCED] + 5),
    "a few zeros": end_with(lambda: bytes(100)),
    "zeros over blocks": end_with(lambda: bytes(150_000)),
    "torn at 512 octets, then zeros": torn_at_512,
    "zeros, then what was there before": end_with(lambda: bytes(5000) + os.urandom(60_000)),
    "what was there before": end_with(lambda: os.urandom(100_000)),
    "a later write without an earlier": reordered,
}


@pytest.mark.parametrize("name", POWER_CUTS)
def test_after_a_power_cut_all_that_was_synced_is_served(
    plain: tuple[Path, keys.Mark], tmp_path: Path, name: str
) -> None:
    files = taken(plain, tmp_path)
    POWER_CUTS[name](log_of(files))
    last, lost = reached(files)
    assert (last >= SYNCED, lost) == (True, 0)
    assert last == (23 if name.startswith("nothing") else SYNCED)


def test_what_is_cut_off_is_kept_unless_it_is_zeros(
    plain: tuple[Path, keys.Mark], tmp_path: Path
) -> None:
    files = taken(plain, tmp_path)
    end_with(lambda: bytes(5000))(log_of(files))
    opened(files).close()
    assert not (tmp_path / "corrupt").exists()
    files = taken(plain, tmp_path / "two")
    path, end = log_of(files), ends(log_of(files))[SYNCED]
    end_with(lambda: bytes(5000) + b"old")(path)
    store = opened(files)
    (copy,) = (tmp_path / "two" / "corrupt").iterdir()
    assert copy.read_bytes() == bytes(5000) + b"old"
    (note,) = store.notes
    assert f"{path}: 5003 octets that were never acknowledged are cut off" in note
    assert str(copy) in note
    assert copy.name.endswith(f"{path.name}-from-{end}")
    store.close()


# ---------------------------------------------------------------- damage: nothing may be cut


def spoil(batch: int) -> Callable[[Path], None]:
    return lambda path: write_at(path, ends(path)[batch - 1] + 2000, b"\xde\xad\xbe\xef")


def zero_from(batch: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        size = path.stat().st_size
        os.truncate(path, ends(path)[batch - 1])
        os.truncate(path, size)

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a batch in the middle": (spoil(10), "cannot be read from octet"),
    "the first batch": (lambda path: write_at(path, 10, b"\xff"), "cannot be read from octet 0"),
    "the last batch that was synced": (spoil(SYNCED), "cannot be read from octet"),
    "the second half is zeros": (zero_from(10), "cannot be read from octet"),
    "all of it is zeros": (
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        "cannot be read from octet 0",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_log_with_synced_mail_refuses_the_shard(
    plain: tuple[Path, keys.Mark], tmp_path: Path, name: str
) -> None:
    files = taken(plain, tmp_path)
    damage, words = DAMAGE[name]
    damage(log_of(files))
    before = contents(files.folder)
    for _ in range(2):  # it gave its lock back
        with pytest.raises(SpoolDamagedError, match=words) as refused:
            opened(files)
    assert "`mta spool repair --shard 1`" in str(refused.value)
    assert contents(files.folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    aside = ("shard.lock", "LOG")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in aside}


def test_damage_in_the_middle_is_known_without_a_mark(
    plain: tuple[Path, keys.Mark], tmp_path: Path
) -> None:
    files = taken(plain, tmp_path)
    spoil(10)(log_of(files))
    with pytest.raises(SpoolDamagedError, match="acknowledged lies behind it"):
        opened(files, keys.Mark(files.mark.identity, 0))


def test_the_last_batch_before_a_frame_told_of_it_is_no_proof(
    plain: tuple[Path, keys.Mark], tmp_path: Path
) -> None:
    """A batch that no mark and no later batch vouches for counts as never synced."""
    files = taken(plain, tmp_path)
    os.truncate(log_of(files), ends(log_of(files))[SYNCED])
    spoil(SYNCED)(log_of(files))
    assert reached(files, keys.Mark(files.mark.identity, SYNCED - 1)) == (SYNCED - 1, 0)


def manifest(folder: Path) -> Path:
    return folder / (folder / "CURRENT").read_text().strip()


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def first_table(folder: Path) -> Path:
    return max(folder.glob("*.sst"), key=lambda path: path.stat().st_size)


OTHER_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "CURRENT is missing": (lambda f: (f / "CURRENT").unlink(), "CURRENT is missing"),
    "CURRENT is empty": (lambda f: (f / "CURRENT").write_text("") and None, "CURRENT"),
    "CURRENT names nothing": (
        lambda f: (f / "CURRENT").write_text("MANIFEST-999999\n") and None,
        "MANIFEST",
    ),
    "MANIFEST is missing": (lambda f: manifest(f).unlink(), "MANIFEST"),
    "MANIFEST is empty": (lambda f: os.truncate(manifest(f), 0), "MANIFEST"),
    "MANIFEST is halved": (lambda f: halve(manifest(f)), "MANIFEST"),
    "MANIFEST is spoilt": (lambda f: write_at(manifest(f), 40, b"\xff" * 8), "MANIFEST|checksum"),
    "a table is missing": (lambda f: first_table(f).unlink(), "sst"),
    "a table is halved": (lambda f: halve(first_table(f)), "sst"),
    "the log is missing, tables too": (
        lambda f: [path.unlink() for path in [first_table(f), *f.glob("*.log")]] and None,
        "sst",
    ),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_damage_to_other_files_refuses_the_shard(
    flushed: tuple[Path, keys.Mark], tmp_path: Path, name: str
) -> None:
    files = taken(flushed, tmp_path)
    damage, words = OTHER_FILES[name]
    damage(files.folder)
    before = set(contents(files.folder))
    with pytest.raises(SpoolDamagedError, match=words):
        opened(files)
    assert set(contents(files.folder)) >= before


def at_every_record(path: Path) -> list[int]:
    """Where the records of a MANIFEST end; it has the form of a log."""
    return [batch.end for batch in wal.Wal(path).read()]


def test_a_manifest_that_ends_early_refuses_or_loses_nothing(
    flushed: tuple[Path, keys.Mark], tmp_path: Path
) -> None:
    refused = []
    for end in [0, *at_every_record(manifest(flushed[0] / "all/shard-0001"))]:
        files = taken(flushed, tmp_path / str(end))
        os.truncate(manifest(files.folder), end)
        try:
            assert reached(files) == (23, 0)
        except SpoolDamagedError:
            refused.append(end)
    assert len(refused) > 5
    assert end not in refused  # all of it


# ---------------------------------------------------------------- more than one log file


def two_logs(made: tuple[Path, keys.Mark], to: Path) -> Files:
    """As a crash leaves it while batches 1 to 11 are being written to tables."""
    files = taken(made, to, "early")
    last = log_of(taken(made, to / "all"))
    shutil.copy(last, files.folder)
    assert len(wal.files(files.folder)) == 2
    return files


def test_log_files_that_follow_each_other(flushed: tuple[Path, keys.Mark], tmp_path: Path) -> None:
    assert reached(two_logs(flushed, tmp_path)) == (23, 0)


def test_the_older_log_ends_in_zeros(flushed: tuple[Path, keys.Mark], tmp_path: Path) -> None:
    files = two_logs(flushed, tmp_path)
    path = wal.files(files.folder)[0].path
    os.truncate(path, path.stat().st_size + 50_000)
    assert reached(files) == (23, 0)


@pytest.mark.parametrize("damage", [Path.unlink, halve, spoil(5), zero_from(5)])
def test_the_older_log_is_gone_or_damaged(
    flushed: tuple[Path, keys.Mark], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    files = two_logs(flushed, tmp_path)
    damage(wal.files(files.folder)[0].path)
    with pytest.raises(SpoolDamagedError, match="between .* are missing|cannot be read"):
        opened(files)


def test_both_logs_end_unsynced(tmp_path: Path) -> None:
    """The power went while the older file was not synced to its end, and it has lost that."""
    files = two_logs((tmp_path, build(tmp_path, flush_at=11, synced=9)), tmp_path / "cut")
    older, newer = (one.path for one in wal.files(files.folder))
    zero_from(10)(older)
    size = newer.stat().st_size
    assert reached(files) == (9, 0)
    (copy,) = (tmp_path / "cut" / "corrupt").iterdir()
    assert (copy.name, copy.stat().st_size) == (f"shard-0001-{newer.name}-from-0", size)


def test_tables_that_the_manifest_does_not_know_may_be_what_is_missing(
    flushed: tuple[Path, keys.Mark], tmp_path: Path
) -> None:
    files = taken(flushed, tmp_path)
    early = taken(flushed, tmp_path / "early", "early")
    shutil.copy(manifest(early.folder), manifest(files.folder))
    for path in files.folder.glob("*.log"):
        path.unlink()
    with pytest.raises(SpoolDamagedError, match="does not name .*sst"):
        opened(files, keys.Mark(files.mark.identity, 11))


# ---------------------------------------------------------------- gone: nothing is left to save


LOSSES: dict[str, tuple[Callable[[Path], object], tuple[int, int]]] = {
    "the log is halved": (lambda f: os.truncate(log_in(f), ends(log_in(f))[16]), (16, 5)),
    "the log is cut in a batch": (
        lambda f: os.truncate(log_in(f), ends(log_in(f))[16] - 9),
        (15, 6),
    ),
    "the log is empty": (lambda f: os.truncate(log_in(f), 0), (11, 10)),
    "the log is gone": (lambda f: log_in(f).unlink(), (11, 10)),
}


def log_in(folder: Path) -> Path:
    return wal.files(folder)[-1].path


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_gone_is_told(flushed: tuple[Path, keys.Mark], tmp_path: Path, name: str) -> None:
    files = taken(flushed, tmp_path)
    damage, wanted = LOSSES[name]
    damage(files.folder)
    assert reached(files) == wanted


def test_an_older_copy_is_told(flushed: tuple[Path, keys.Mark], tmp_path: Path) -> None:
    assert reached(taken(flushed, tmp_path, "early")) == (11, 10)


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "spool" / "shard-0001", 1, OPTIONS, keys.Mark(b"somebody", 21))
    assert (store.found.unused, store.found.replaced, store.found.lost) == (True, True, 21)
    store.close()


def test_another_database_is_told(plain: tuple[Path, keys.Mark], tmp_path: Path) -> None:
    store = opened(taken(plain, tmp_path), keys.Mark(b"somebody", 3))
    assert store.found.replaced
    store.close()


def test_without_a_mark_what_can_be_read_is_served(
    plain: tuple[Path, keys.Mark], tmp_path: Path
) -> None:
    files = taken(plain, tmp_path)
    store = Store(files.folder, 1, OPTIONS)
    assert (store.found.lost, store.found.replaced, store.found.reaches) == (0, False, 23)
    store.close()


# ---------------------------------------------------------------- the first start, and numbers


def test_a_database_that_was_half_made_is_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "shard-0001", 1, OPTIONS)
    store.close()
    families = tmp_path / "shard-0001"
    ends_at = at_every_record(manifest(families))
    assert len(ends_at) > 2
    for path in families.glob("*.log"):
        path.unlink()
    for path in families.glob("*.sst"):
        path.unlink()
    (families / "CURRENT").unlink()
    store = Store(families, 1, OPTIONS)
    assert store.found.unused
    store.close()


def test_numbers_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "shard-0001", 1, OPTIONS)
    identity = store.identity
    assert (store.written, store.synced) == (1, 1)
    put(store, sync=False)
    assert (store.written, store.synced) == (2, 1)
    store.reopen()
    assert (store.written, store.identity) == (2, identity)
    put(store, sync=True)
    assert (store.written, store.synced) == (3, 3)
    store.close()
    store = Store(tmp_path / "shard-0001", 1, OPTIONS)
    assert (store.written, store.identity) == (4, identity)
    store.close()


def test_reopening_what_has_lost_something_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "shard-0001", 1, OPTIONS)
    for _ in range(5):
        put(store, sync=True)
    store.synced += 3
    with pytest.raises(SpoolDamagedError, match="3 batches that were synced are gone"):
        store.reopen()
    assert not store.is_open
    store.synced -= 3
    store.reopen()
    assert store.written == 6
    store.close()


def test_the_log_of_another_database_is_not_applied(
    flushed: tuple[Path, keys.Mark], tmp_path: Path
) -> None:
    build(tmp_path / "other", flush_at=11)
    files = taken(flushed, tmp_path / "one")
    other = wal.files(tmp_path / "other" / "all" / "shard-0001")[-1].path
    own = log_of(files).read_bytes()
    shutil.copyfile(other, log_of(files))
    for mark in (None, keys.Mark(files.mark.identity, 5)):  # the tables alone tell
        with pytest.raises(SpoolDamagedError, match="of another database: was it exchanged"):
            Store(files.folder, 1, OPTIONS, mark)
    assert log_of(files).read_bytes() == other.read_bytes()
    log_of(files).write_bytes(own)
    assert reached(files) == (SYNCED + 2, 0)
