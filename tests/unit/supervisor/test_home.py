"""The locks of a server's folders."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from mta.errors import MailraceError
from mta.supervisor.home import Home, HomeTroubleError
from mta.supervisor.starting import take_home


def home(folder: Path) -> Home:
    return Home(folder, folder / "spool", folder / "log")


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    first = home(tmp_path)
    first.prepare()
    with pytest.raises(MailraceError, match=f"pid {os.getpid()}"):
        home(tmp_path).prepare()
    first.release()
    home(tmp_path).prepare()


def test_a_full_disk_does_not_keep_a_lock_from_being_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    first = home(tmp_path)
    first.prepare()
    with pytest.raises(MailraceError, match="pid unknown"):
        home(tmp_path).prepare()
    first.release()


def failing(monkeypatch: pytest.MonkeyPatch, errors: list[int], path: Path) -> None:
    """Have it not be opened, for one reason after the other."""
    opened = os.open

    def fail(name: Path, flags: int, mode: int = 0o777) -> int:
        if name == path and errors:
            raise OSError(code := errors.pop(0), os.strerror(code))
        return opened(name, flags, mode)

    monkeypatch.setattr(os, "open", fail)


def test_a_lock_that_cannot_be_opened_now_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = home(tmp_path)
    first.prepare()
    first.release()
    errors = [errno.EMFILE, errno.EMFILE, errno.EIO, errno.EROFS, errno.ENOSPC]
    failing(monkeypatch, errors, tmp_path / "log" / "lock")
    said, told, one = list[str](), list[str](), home(tmp_path)
    asyncio.run(take_home(one, said.append, lambda why, seconds: told.append(why), again=0))
    assert errors == []
    assert [text.partition(": ")[2].partition(";")[0] for text in said] == [
        "Too many open files", "Input/output error", "Read-only file system",
        "No space left on device",
    ]  # fmt: skip
    assert len(told) == 5


def test_locks_are_given_back_where_one_is_not_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, [errno.EMFILE], tmp_path / "log" / "lock")
    with pytest.raises(HomeTroubleError):
        home(tmp_path).prepare()
    home(tmp_path).prepare()


def test_a_new_home_that_cannot_be_written_is_a_wrong_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, [errno.EROFS], tmp_path / "lock")
    with pytest.raises(MailraceError, match="Read-only") as raised:
        home(tmp_path).prepare()
    assert not isinstance(raised.value, HomeTroubleError)
