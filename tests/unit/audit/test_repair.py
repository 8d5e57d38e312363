"""A shard that is damaged is made anew: what is saved, what is made again, what is lost."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mta.audit import repair
from mta.audit.check import check
from mta.audit.losses import Losses
from mta.audit.repair import Repair, Repaired
from mta.audit.source import Source, kept
from mta.errors import ContentsMissingError, SpoolDamagedError
from mta.maillog import LogWriter, read, reader
from mta.model import Flag, IdGenerator, Stages
from mta.spool import Gone, keys, wal
from mta.spool.store import repairing
from mta.testing.clock import FakeClock
from mta.testing.spool import SpoolBench
from tests.unit.audit.bench import OK, OPTIONS, PEER, Filled

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400_000_000


def repaired(filled: Filled) -> Repaired:
    clock = FakeClock()
    with (
        kept(filled.folder),
        closing(LogWriter(filled.log, clock=clock)) as log,
        closing(Source(filled.folder, keys.parse_mark(log.mark))) as source,
    ):
        return Repair(source, 1, log, filled.log, filled.lines, clock).run(DAY)


def opened(filled: Filled) -> SpoolBench:
    return SpoolBench(filled.home, log=LogWriter(filled.log, clock=FakeClock()), options=OPTIONS)


def refused(filled: Filled, words: str = "is damaged") -> None:
    """A start does not open it."""
    log = LogWriter(filled.log, clock=FakeClock())
    with closing(log), pytest.raises(SpoolDamagedError, match=words):
        SpoolBench(filled.home, log=log, options=OPTIONS)


def served(filled: Filled) -> dict[str, bytes]:
    """What a start finds: address and content of each recipient, in every index once."""
    bench = opened(filled)
    assert (bench.shard.found.lost, bench.shard.found.replaced) == (0, False)
    recipients = bench.shard.scan(b"", 1000)[0]
    rows = bench.shard._store.rows(b"", b"\xff", 10_000)
    assert len(rows) == 2 * len(recipients)
    found = {r.address: bench.shard.body(r.message) for r in recipients}
    assert len(found) == len(recipients)
    bench.close()
    return found


def wrong(filled: Filled) -> dict[str, int]:
    mark = keys.parse_mark(reader.last_mark(filled.log))
    with closing(Source(filled.folder, mark)) as source:
        return check(source, 1, filled.log).counts


def crashed(tmp_path: Path, **more: Any) -> Filled:
    """As kill -9 leaves it: most of it is in the write-ahead log."""
    filled = Filled(tmp_path / "live", **more)
    shutil.copytree(tmp_path / "live", tmp_path / "home")
    filled.close()
    filled.home = tmp_path / "home"
    filled.folder, filled.log = (filled.home / part / "shard-0001" for part in ("spool", "log"))
    return filled


def closed(tmp_path: Path, **more: Any) -> Filled:
    """As an orderly end leaves it: all of it is in tables."""
    return Filled(tmp_path / "home", **more).close()


def manifest(folder: Path) -> Path:
    return folder / (folder / "CURRENT").read_text().strip()


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def write_at(path: Path, at: int, octets: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(octets)


def log_in(folder: Path) -> Path:
    return wal.files(folder)[-1].path


FILES: dict[str, Callable[[Path], Any]] = {
    "CURRENT is missing": lambda folder: (folder / "CURRENT").unlink(),
    "CURRENT names nothing": lambda folder: (folder / "CURRENT").write_text("MANIFEST-99\n"),
    "MANIFEST is missing": lambda folder: manifest(folder).unlink(),
    "MANIFEST is halved": lambda folder: halve(manifest(folder)),
    "MANIFEST is empty": lambda folder: os.truncate(manifest(folder), 0),
}


@pytest.mark.parametrize("state", [crashed, closed])
@pytest.mark.parametrize("name", FILES)
def test_what_only_names_files_costs_nothing(
    tmp_path: Path, name: str, state: Callable[..., Filled]
) -> None:
    filled = state(tmp_path)
    FILES[name](filled.folder)
    refused(filled)
    result = repaired(filled)
    assert (result.lost, result.unreadable) == (0, 0)
    assert result.recipients == len(filled.open)
    assert wrong(filled) == {}
    assert set(served(filled)) == filled.names()
    assert (Path(result.kept) / "LOG").exists()  # all that was there
    assert Losses(filled.log).all == []


def test_a_batch_in_the_middle_of_the_log(tmp_path: Path) -> None:
    """What lies behind it is saved; what was in it is made again of its content."""
    filled = crashed(tmp_path)
    ends = [batch.end for batch in wal.Wal(log_in(filled.folder)).read()]
    write_at(log_in(filled.folder), ends[5] + 30, b"\xde\xad")
    refused(filled)
    result = repaired(filled)
    assert result.lost == 0
    assert set(served(filled)) == filled.names()


def contents_of(filled: Filled) -> dict[str, bytes]:
    return {one.address: one.message.body or b"" for one in filled.open}


def test_everything_but_contents_and_log_is_gone(tmp_path: Path) -> None:
    """Envelopes are made again of Reception records."""
    filled = closed(tmp_path)
    wanted = contents_of(filled)
    for path in filled.folder.iterdir():
        if path.is_file():
            path.unlink()
    result = repaired(filled)
    assert (result.again, result.lost, result.recipients) == (len(wanted), 0, len(wanted))
    found = served(filled)
    assert found == wanted
    assert wrong(filled) == {}
    bench = opened(filled)
    message = next(iter(bench.shard.scan(b"", 1)[0])).message
    assert message.flags & Flag.EIGHT_BIT
    assert message.sender == "from@example.com"
    bench.close()


def test_what_nothing_is_left_of_is_recorded_as_lost(tmp_path: Path) -> None:
    filled = closed(tmp_path, body=500)  # too small for a segment
    shutil.rmtree(filled.folder)
    result = repaired(filled)
    assert (result.lost, result.recipients) == (len(filled.open), 0)
    assert {name.split()[1] for name in result.names} == filled.names()
    ends: Counter[str] = Counter()
    for _, one in read(filled.log):
        if one["type"] in ("Delivery", "Lost"):
            ends[one["recipient"]] += 1
    assert all(ends[name] == 1 for name in filled.names())
    (loss,) = Losses(filled.log).pending
    assert (loss.recipients, loss.compared) == (len(filled.open), True)
    assert wrong(filled) == {"accept": 1}
    assert served(filled) == {}


def test_a_record_that_is_none_is_made_again(tmp_path: Path) -> None:
    filled = closed(tmp_path)
    one = next(r for r in filled.open if r.message.total == 1)
    store = filled.store()
    store.messages.put(keys.recipient(one.message.id, 0), b"\2garbage")
    store.close()
    result = repaired(filled)
    assert (result.unreadable, result.again, result.lost) == (1, 1, 0)
    assert set(served(filled)) == filled.names()


def test_rows_that_lead_to_recipients_are_made_anew(tmp_path: Path) -> None:
    filled = closed(tmp_path)
    store = filled.store()
    for row in store.rows(b"", b"\xff", 1000)[::2]:
        store.index.delete(row)
    store.index.put(b"f" + bytes(20), b"")
    store.close()
    assert "index" in wrong(filled)
    assert repaired(filled).lost == 0
    assert wrong(filled) == {}
    assert set(served(filled)) == filled.names()


def test_a_damaged_table_costs_a_block(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "home", body=900)
    for _ in range(30):
        them = filled.bench.stored(*(f"{number}@y" for number in range(40)))
        filled.bench.shard.log(filled.lines.reception(them[0].message, them), them[0].message.id)
    filled.bench.commit()
    filled.close()
    (table,) = sorted(filled.folder.glob("*.sst"), key=lambda p: -p.stat().st_size)[:1]
    write_at(table, table.stat().st_size // 2, os.urandom(64))
    size = len(filled.open) + 30 * 40
    result = repaired(filled)
    assert result.recipients + result.lost == size
    assert result.recipients > size * 0.3
    assert not set(wrong(filled)) - {"accept"}


def test_nothing_that_has_ended_comes_back(tmp_path: Path) -> None:
    """A table that was left over may have what was deleted since."""
    filled = crashed(tmp_path)
    writer = LogWriter(filled.log, clock=FakeClock())
    gone = filled.open[0]
    writer.append([filled.lines.delivery(gone, OK, PEER, Stages())])
    writer.close()
    (filled.folder / "CURRENT").unlink()
    result = repaired(filled)
    assert result.ended == 1
    assert set(served(filled)) == filled.names() - {gone.address}


@pytest.mark.parametrize("at", range(7))
def test_a_crash_while_the_folders_change_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """No server opens the shard until the repair was ended, and nothing is lost by that."""
    filled = closed(tmp_path)
    (filled.folder / "CURRENT").unlink()
    steps = {"left": at}

    def step(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if steps["left"] == 0:
                raise KeyboardInterrupt
            steps["left"] -= 1
            return real(*arguments, **named)

        return call

    begin = repair.begin

    def begun(*arguments: Any) -> str:
        name = begin(*arguments)
        monkeypatch.setattr(Path, "rename", step(Path.rename))
        monkeypatch.setattr(Path, "unlink", step(Path.unlink))
        monkeypatch.setattr("mta.audit.repair.sync_folder", step(repair.sync_folder))
        return name

    monkeypatch.setattr("mta.audit.repair.begin", begun)
    with suppress(KeyboardInterrupt):
        repaired(filled)
    monkeypatch.undo()
    if repairing(filled.folder).exists():
        refused(filled, "was not finished")
        with closing(LogWriter(filled.log, clock=FakeClock())) as log:
            repair.finish(filled.folder, log, filled.log, FakeClock())
    assert set(served(filled)) == filled.names()
    assert wrong(filled) == {}


@pytest.mark.parametrize("folder", [False, True])
def test_a_shard_may_do_without_contents_that_are_gone(tmp_path: Path, folder: bool) -> None:
    filled = closed(tmp_path)
    if folder:
        shutil.rmtree(filled.folder / "bodies")
    else:
        (filled.folder / "bodies" / "0000000001.bodies").unlink()
    log = LogWriter(filled.log, clock=FakeClock())
    with closing(log), pytest.raises(ContentsMissingError, match="0000000001.bodies"):
        SpoolBench(filled.home, log=log, options=OPTIONS)
    assert wrong(filled)["files"] == 1
    done = repaired(filled)
    assert (done.without, done.lost, done.recipients) == (1, 0, len(filled.open))
    found = served(filled)
    assert set(found) == filled.names()
    assert {type(content) for content in found.values()} == {Gone}
    assert set(wrong(filled)) == {"content"}


def test_a_file_that_no_mail_needs_is_not_missed(tmp_path: Path) -> None:
    filled = closed(tmp_path)
    store = filled.store()  # the deletion of its row was in what is damaged
    store.default.put(keys.segment(99), keys.u32(2048))
    store.close()
    done = repaired(filled)
    assert (done.without, done.recipients) == (0, len(filled.open))
    assert set(served(filled)) == filled.names()


@pytest.mark.parametrize("logged", [0, 1])
def test_what_the_log_could_not_take_is_logged_and_not_sent_again(
    tmp_path: Path, logged: int
) -> None:
    filled = Filled(tmp_path / "live")
    bench = filled.bench
    one = bench.shard.scan(b"", 1)[0][0]
    before = len(ends(filled))
    append, log = bench.shard.log_end.append, bench.shard.log_end

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log.append = fail  # type: ignore[assignment]
    bench.shard.close(one, filled.lines.delivery(one, OK, PEER, Stages()))
    bench.commit()
    kept_lines = list(bench.shard.kept_lines())
    shutil.copytree(tmp_path / "live", tmp_path / "home")
    log.append = append  # type: ignore[method-assign]
    filled.close()
    filled.home = tmp_path / "home"
    filled.folder, filled.log = (filled.home / part / "shard-0001" for part in ("spool", "log"))
    if logged:  # a crash came before the spool knew
        with closing(LogWriter(filled.log, clock=FakeClock())) as writer:
            writer.append(kept_lines)
    result = repaired(filled)
    assert result.lost == result.again == 0
    assert one.address not in served(filled)
    assert len(ends(filled)) == before + 1
    assert wrong(filled) == {}


def ends(filled: Filled) -> list[str]:
    return [record["id"] for _, record in read(filled.log) if record["type"] == "Delivery"]


def test_mail_of_another_shard_is_left_out(tmp_path: Path) -> None:
    filled = closed(tmp_path)
    one = next(r for r in filled.open if r.message.total == 1)
    store = filled.store()
    value = store.get(store.messages, keys.recipient(one.message.id, 0))
    id = IdGenerator(2, FakeClock()).next()
    store.messages.put(keys.recipient(id, 0), value)
    store.bodies.put(id, b"another's")
    store.close()
    assert repaired(filled).recipients == len(filled.open)
    assert set(served(filled)) == filled.names()
    store = filled.store()
    assert store.get(store.bodies, id) is None
    store.close()


@pytest.mark.parametrize(
    ("base", "known", "counts"),
    [
        (None, set(), True),
        (keys.Mark(b"mine", 0, 5), {b"mine"}, False),  # it is in the tables already
        (keys.Mark(b"mine", 0, 4), {b"mine"}, True),
        (keys.Mark(b"else", 0, 9), {b"else", b"mine"}, True),  # the tables' word is another's
        (keys.Mark(b"else", 0, 1), {b"else"}, False),  # the write-ahead log is
        (None, {b"else"}, False),
    ],
)
def test_which_batches_are_this_databases(
    base: keys.Mark | None, known: set[bytes], counts: bool
) -> None:
    assert repair._counts(keys.Mark(b"mine", 0, 5), base, known) == counts
    assert repair._counts(None, base, known)
