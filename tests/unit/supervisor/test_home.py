"""The locks of a server's folders."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mta.errors import MailraceError
from mta.supervisor.home import Home


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
