"""Speaking to the service manager and the journal; whom to become."""

from __future__ import annotations

import io
import os
import pwd
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mta.errors import ConfigError
from mta.supervisor import journal, privileges
from mta.supervisor.notify import Notifier
from tests.waiting import PATIENCE


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE)
        yield sock


def heard(sock: socket.socket) -> list[str]:
    return sock.recv(4096).decode().split("\n")


def test_states_are_told(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000", "A": "b"}
    notifier = Notifier(environ)
    assert environ == {"A": "b"}
    assert notifier.watchdog == 1.5
    notifier.ready("up")
    assert heard(manager) == ["READY=1", "STATUS=up"]
    notifier.reloading()
    first, second = heard(manager)
    assert first == "RELOADING=1" and int(second.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.alive()
    assert heard(manager) == ["WATCHDOG=1"]
    notifier.stopping()
    assert heard(manager)[0] == "STOPPING=1"


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0mailrace-test-{os.getpid()}")
        sock.settimeout(PATIENCE)
        Notifier({"NOTIFY_SOCKET": f"@mailrace-test-{os.getpid()}"}).ready("up")
        assert heard(sock)[0] == "READY=1"


def test_nobody_asked_or_nobody_listens(tmp_path: Path) -> None:
    assert Notifier({"WATCHDOG_USEC": "1000"}).watchdog == 0
    Notifier({}).ready("up")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready("up")


def test_a_watchdog_of_another_process(manager: socket.socket) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1",
    }  # fmt: skip
    assert Notifier(environ).watchdog == 0


def test_lines_for_the_journal() -> None:
    beneath = io.StringIO()
    stream = journal.Prefixed(beneath, "<6>")
    print("one", file=stream)
    print("two\nthree", file=stream, flush=True)
    stream.write("")
    assert beneath.getvalue() == "<6>one\n<6>two\n<6>three\n"


def test_only_what_leads_to_the_journal_is_prefixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(tmp_path / "out", "w+") as out, open(tmp_path / "err", "w+") as err:
        found = os.fstat(err.fileno())
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        journal.install()
        print("a")
        print("b", file=sys.stderr, flush=True)
        assert sys.stdout is out
        assert (tmp_path / "err").read_text() == "<4>b\n"
        monkeypatch.undo()


ROOT = os.geteuid() == 0
ME = pwd.getpwuid(os.geteuid()).pw_name


def test_nobody_to_become() -> None:
    assert privileges.identity("", "") is None
    assert privileges.identity(ME, "") is None  # oneself
    with privileges.acting_as(None):
        privileges.drop(None)


@pytest.mark.parametrize(
    ("user", "group", "said"),
    [
        ("no-such-user", "", "user: there is no user 'no-such-user'.*useradd"),
        (ME, "no-such-group", "group: there is no group 'no-such-group'.*groupadd"),
        ("", "daemon", "group: says nothing without `user`"),
    ],
)
def test_identities_that_cannot_be(user: str, group: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        privileges.identity(user, group)


def test_only_root_can_become_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(ConfigError, match="only root can become root"):
        privileges.identity("root", "")


@pytest.mark.skipif(not ROOT, reason="only root can give folders away")
def test_missing_folders_are_made_for_the_user(tmp_path: Path) -> None:
    who = privileges.identity("nobody", "")
    assert who is not None and who.uid == pwd.getpwnam("nobody").pw_uid
    (tmp_path / "there").mkdir()
    folders = [tmp_path / "there", tmp_path / "new" / "deep"]
    privileges.make_folders(folders, who)
    assert folders[0].stat().st_uid == 0  # what exists is not given away
    assert (folders[1].stat().st_uid, folders[1].stat().st_mode & 0o777) == (who.uid, 0o750)
    with privileges.acting_as(who):
        assert os.geteuid() == who.uid and os.getegid() == who.gid
    assert (os.geteuid(), os.getegid()) == (0, 0)
