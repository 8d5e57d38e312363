"""Maildirs, mboxes and files: whole, synced, or not there."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from mta.delivery.transports import disk
from mta.delivery.transports.file import File
from mta.delivery.transports.maildir import Maildir
from mta.model import Kind
from tests.unit.delivery.fakes import attempt


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were synced, in order."""
    seen: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        seen.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_a_maildir_is_made_and_file_and_folders_are_synced(
    tmp_path: Path, synced: list[str]
) -> None:
    box = Maildir("m", f"{tmp_path}/{{domain}}/{{local}}")
    [outcome] = box.handle(attempt("Ann@b", body=b"X: y\r\n\r\nhi\r\n"))
    folder = tmp_path / "b" / "ann"
    assert (outcome.kind, outcome.text) == (Kind.DELIVERED, f"stored in {folder}")
    [file] = (folder / "new").iterdir()
    assert file.read_bytes() == b"Return-Path: <a@x>\nDelivered-To: Ann@b\nX: y\n\nhi\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list((folder / "tmp").iterdir()) == []
    assert synced[:2] == [str(tmp_path), str(tmp_path / "b")]
    assert synced[-2:] == [str(folder / "tmp" / file.name), str(folder / "new")]


def test_each_recipient_has_a_file_and_an_outcome(tmp_path: Path) -> None:
    box = Maildir("m", f"{tmp_path}/{{local}}")
    outcomes = box.handle(attempt("a@b", "..@b", "a@c"))
    assert [o.kind for o in outcomes] == [Kind.DELIVERED, Kind.BOUNCED, Kind.DELIVERED]
    assert len(list((tmp_path / "a" / "new").iterdir())) == 2


@pytest.mark.parametrize(
    ("number", "kind", "enhanced"),
    [
        (errno.ENOSPC, Kind.DEFERRED, "4.3.1"),
        (errno.EDQUOT, Kind.DEFERRED, "4.2.2"),
        (errno.EACCES, Kind.DEFERRED, "4.3.5"),
        (errno.EIO, Kind.DEFERRED, "4.3.0"),
        (errno.ENAMETOOLONG, Kind.BOUNCED, "5.1.3"),
    ],
)
def test_what_the_disk_says(number: int, kind: Kind, enhanced: str) -> None:
    outcome = disk.failed(OSError(number, os.strerror(number), "/m/x"), "maildir")
    assert (outcome.kind, outcome.enhanced) == (kind, enhanced)
    assert outcome.text == f"/m/x: {os.strerror(number)}"


def test_a_part_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Maildir("m", str(tmp_path / "box"))
    box.handle(attempt())
    full = OSError(errno.ENOSPC, "No space left on device")

    def fsync(fd: int) -> None:
        raise full

    monkeypatch.setattr(os, "fsync", fsync)
    [outcome] = box.handle(attempt())
    assert (outcome.kind, outcome.enhanced) == (Kind.DEFERRED, "4.3.1")
    assert list((tmp_path / "box" / "tmp").iterdir()) == []
    assert len(list((tmp_path / "box" / "new").iterdir())) == 1
    files = File("f", str(tmp_path / "files"), append=False, timeout=1)
    (tmp_path / "files").mkdir()
    assert files.handle(attempt())[0].kind == Kind.DEFERRED
    assert list((tmp_path / "files").iterdir()) == []


def test_an_mbox_is_cut_back_to_what_was_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sub" / "mbox"
    box = File("f", str(path), append=True, timeout=1)
    assert box.handle(attempt())[0].kind == Kind.DELIVERED
    before, real = path.read_bytes(), os.write
    calls = iter([10])

    def write(fd: int, data: Any) -> int:
        size = next(calls, None)
        if size is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:size])

    monkeypatch.setattr(os, "write", write)
    [outcome] = box.handle(attempt())
    assert (outcome.enhanced, outcome.text) == ("4.3.1", f"{path}: No space left on device")
    assert path.read_bytes() == before


def test_a_locked_mbox_defers(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    box = File("f", str(path), append=True, timeout=0.02)
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        [outcome] = box.handle(attempt())
    assert (outcome.kind, outcome.enhanced) == (Kind.DEFERRED, "4.2.0")
    assert path.read_bytes() == b""


def test_from_lines_are_quoted_and_entries_end_in_an_empty_line() -> None:
    one = attempt("r@b", sender="")
    body = b"A: b\r\n\r\nFrom x\r\n>From y\r\n From z"
    entry = disk.mbox_entry(one.message, one.recipients, body, "Thu Jan  1 00:00:00 1970")
    assert entry == (
        b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\nReturn-Path: <>\nDelivered-To: r@b\n"
        b"A: b\n\n>From x\n>>From y\n From z\n\n"
    )


def test_recipients_of_one_path_share_an_entry(tmp_path: Path) -> None:
    box = File("f", f"{tmp_path}/{{domain}}", append=False, timeout=1)
    outcomes = box.handle(attempt("a@x", "b@y", "c@x", "/@z/"))
    assert [o.kind for o in outcomes] == [Kind.DELIVERED] * 3 + [Kind.BOUNCED]
    name = f"{'0' * 32}-0.eml"
    assert (
        (tmp_path / "x" / name)
        .read_bytes()
        .startswith(b"Return-Path: <a@x>\r\nDelivered-To: a@x\r\nDelivered-To: c@x\r\n")
    )
    assert len(list((tmp_path / "y").iterdir())) == 1
    box.handle(attempt("a@x", "c@x"))
    assert len(list((tmp_path / "x").iterdir())) == 1  # a second attempt replaces the first
