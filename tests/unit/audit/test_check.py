"""A shard is looked at, each kind of fault is found, and nothing is changed by looking."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mta.audit.check import KINDS, SHOWN, Report, check
from mta.audit.losses import Loss, Losses
from mta.audit.source import Source, kept
from mta.errors import SpoolLockedError
from mta.maillog import LogWriter, reader
from mta.model import Recipient, Stages
from mta.spool import keys, wal
from mta.testing.clock import FakeClock
from tests.unit.audit.bench import OK, PEER, Filled, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable


def checked(filled: Filled) -> Report:
    before = snapshot(filled.home)
    mark = keys.parse_mark(reader.last_mark(filled.log))
    with kept(filled.folder), closing(Source(filled.folder, mark)) as source:
        report = check(source, 1, filled.log)
    assert snapshot(filled.home) == before
    assert set(report.counts) <= set(KINDS)
    return report


def test_nothing_is_wrong(tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    report = checked(filled)
    assert (report.counts, report.problems) == ({}, [])
    assert report.recipients == len(filled.open)
    assert report.messages == report.contents == len({one.message.id for one in filled.open})
    assert report.octets == 3000 * report.contents


def test_nothing_is_wrong_after_a_kill(tmp_path: Path) -> None:
    """The young have no rows yet, the log is ahead of the spool."""
    filled = Filled(tmp_path / "live")
    filled.bench.stored("young@x")
    shutil.copytree(tmp_path / "live", tmp_path / "home")
    filled.close()
    filled.home = tmp_path / "home"
    filled.folder, filled.log = (filled.home / part / "shard-0001" for part in ("spool", "log"))
    report = checked(filled)
    assert report.counts == {}
    assert report.recipients == len(filled.open) + 1


def rows_of(
    filled: Filled, change: Callable[[Filled, Recipient], list[tuple[str, bytes, bytes | None]]]
) -> None:
    """Change rows by hand: family, key, value or None."""
    one = next(r for r in filled.open if r.message.total == 1)
    store = filled.store()
    for family, key, value in change(filled, one):
        if value is None:
            getattr(store, family).delete(key)
        else:
            getattr(store, family).put(key, value)
    store.close()


def key_of(one: Recipient) -> bytes:
    return keys.recipient(one.message.id, one.number)


ROWS: dict[
    str, tuple[str, Callable[[Filled, Recipient], list[tuple[str, bytes, bytes | None]]]]
] = {
    "a record that is none": ("record", lambda f, r: [("messages", key_of(r), b"\2garbage")]),
    "an index row is missing": ("index", lambda f, r: [("index", keys.row(r, key_of(r)), None)]),
    "the expiry row is missing": (
        "index",
        lambda f, r: [("index", keys.expiry(r.expires_us, key_of(r)), None)],
    ),
    "an index row leads to nobody": ("index", lambda f, r: [("index", b"f" + bytes(20), b"")]),
    "an index row is left over": ("index", lambda f, r: [("index", keys.held(key_of(r)), b"")]),
    "a recipient without envelope": (
        "envelope",
        lambda f, r: [("messages", f.open[1].message.id, None)],
    ),
    "a recipient is missing": ("missing", lambda f, r: [("messages", key_of(r), None)]),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_do_not_fit_are_found(tmp_path: Path, name: str) -> None:
    filled = Filled(tmp_path).close()
    kind, change = ROWS[name]
    filled.open.sort(key=lambda one: one.message.total != 2)  # [0] and [1] share their message
    rows_of(filled, change)
    assert kind in checked(filled).counts


def test_a_content_that_is_damaged_is_found(tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    one = filled.open[0].message
    assert one.place
    (path,) = (p for p in (filled.folder / "bodies").iterdir() if int(p.stem) == one.place >> 32)
    with open(path, "r+b") as file:
        file.seek((one.place & 0xFFFFFFFF) * 512 + 1000)
        file.write(b"spoilt")
    report = checked(filled)
    assert report.counts == {"content": 1}
    assert report.problems[0].id == one.id.hex()


def test_contents_that_are_gone_are_found(tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    for path in (filled.folder / "bodies").iterdir():
        path.unlink()
    assert checked(filled).counts["content"] == len({one.message.id for one in filled.open})


def test_an_end_in_the_log_that_the_spool_does_not_know_is_found(tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    writer = LogWriter(filled.log, clock=FakeClock())
    end = writer.append([filled.lines.delivery(filled.open[0], OK, PEER, Stages())])
    assert checked(filled).counts == {}  # the next start applies it
    end = writer.append([b"later"])
    writer.close()
    rows_of(filled, lambda f, r: [("default", keys.LOG, keys.position(*end))])
    report = checked(filled)
    assert report.counts == {"ended": 1}
    assert report.problems[0].id == filled.open[0].message.id.hex()


def test_a_refused_shard_and_a_loss_are_told(tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    (filled.folder / "CURRENT").unlink()
    Losses(filled.log).found(Loss(1, "it was cut", (1, 0), compared=True))
    report = checked(filled)
    assert report.counts == {"files": 1, "accept": 1}
    assert "CURRENT is missing" in report.problems[0].text


def test_a_damaged_block_is_told_and_what_is_behind_it_is_read(tmp_path: Path) -> None:
    filled = Filled(tmp_path, body=900)
    for _ in range(30):
        filled.bench.stored(*(f"{number}@y" for number in range(40)))
    filled.close()
    size = len(filled.open) + 30 * 40
    store = filled.store()
    store.close()
    (table,) = sorted(filled.folder.glob("*.sst"), key=lambda p: -p.stat().st_size)[:1]
    with open(table, "r+b") as file:
        file.seek(table.stat().st_size // 2)
        file.write(os.urandom(64))
    report = checked(filled)
    assert report.counts["damage"] >= 1
    assert "checksum mismatch" in next(p.text for p in report.problems if p.kind == "damage")
    assert str(filled.folder) in next(p.text for p in report.problems if p.kind == "damage")
    assert size * 0.3 < report.recipients <= size
    assert len([p for p in report.problems if p.kind == "index"]) <= SHOWN


def test_zeros_that_a_start_would_cut_off_are_nothing_wrong(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "live")
    shutil.copytree(tmp_path / "live", tmp_path / "home")
    filled.close()
    filled.home = tmp_path / "home"
    filled.folder, filled.log = (filled.home / part / "shard-0001" for part in ("spool", "log"))
    path = wal.files(filled.folder)[-1].path
    os.truncate(path, path.stat().st_size + 70_000)
    report = checked(filled)
    assert report.counts == {}
    assert report.recipients == len(filled.open)


def test_a_shard_in_use_is_not_looked_at(tmp_path: Path) -> None:
    filled = Filled(tmp_path)
    with (
        pytest.raises(SpoolLockedError, match=f"running server .process {os.getpid()}."),
        kept(filled.folder),
    ):
        pass
    filled.close()


def test_no_server_opens_what_is_being_looked_at(tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    with kept(filled.folder), pytest.raises(SpoolLockedError):
        filled.store()
    filled.store().close()
