"""Mail by `sendmail` and by files, through a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait


class Dropping(Server):
    """A server that looks often, and what is dropped into its folder."""

    def __init__(self, home: Path, *flags: str, port: int) -> None:
        route = ("--route", f"*=127.0.0.1:{port}", "-o", "pickup.interval=50ms")
        super().__init__(home, *route, *flags)
        self.folder = home / "pickup"

    def drop(self, name: str, data: bytes) -> None:
        hidden = self.folder / f".{name}"
        hidden.write_bytes(data)
        hidden.rename(self.folder / name)

    def wait_gone(self, *names: str) -> None:
        wait(
            lambda: not any((self.folder / name).exists() for name in names),
            lambda: (list(self.folder.iterdir()), self.said()),
        )

    def worker(self) -> int:
        """The worker's process, once it serves."""
        return int(self.status()["workers"][0]["pid"])

    def sendmail(self, *words: str, data: str = "Subject: s\n\nx\n") -> None:
        command = [sys.executable, "-m", "mta.cli.main", "sendmail", "--home", str(self.home)]
        server = ["--server", f"127.0.0.1:{self.port}"]
        subprocess.run(
            [*command, *server, *words], input=data, text=True, check=True, timeout=PATIENCE
        )


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MTA_CONFIG", "MTA_SERVER", "MTA_HOME"):
        monkeypatch.delenv(name, raising=False)


def by_recipient(records: list[dict[str, Any]]) -> list[str]:
    return sorted(record["recipient"] for record in records)


def test_sendmail_with_and_without_a_server(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        server = Dropping(tmp_path, port=remote.port)
        with server:
            data = "To: a@b.example\nBcc: c@d.example\nSubject: hello\n\n.dot\n..\nend\n"
            server.sendmail("-t", "-i", "-f", "me@x.example", data=data)
            assert by_recipient(server.wait_records(2, "Delivery")) == [
                "a@b.example", "c@d.example",
            ]  # fmt: skip
        server.sendmail("-f", "me@x.example", "-i", "later@b.example", data=".x\n")
        assert len([p for p in server.folder.iterdir() if p.name != "bad"]) == 1
        with server:
            server.wait_records(3, "Delivery")
        [first, *_], last = remote.received, remote.received[-1]
        assert first.sender == "me@x.example"
        assert b"\r\n\r\n.dot\r\n..\r\nend\r\n" in first.content
        assert b"Bcc" not in first.content and b"\r\nDate: " in first.content
        assert last.recipients == ["later@b.example"]
        assert b"(pickup)\r\n\tid " in last.content and last.content.endswith(b"\r\n\r\n.x\r\n")
        assert not [p for p in server.folder.iterdir() if p.name != "bad"]


def test_files_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    with RemoteMX() as remote, Dropping(tmp_path, port=remote.port) as server:
        head = b"X-Sender: a@b.example\nX-Receiver: c@d.example\n"
        server.drop("good", head + b"X-Receiver: e@d.example\nX-Tenant: acme\nA: b\n\n\xe4\n")
        server.drop("empty", b"")
        server.drop("no-domain", b"X-Sender: a@b\nX-Receiver: c@\nA: b\n\n")
        server.drop("some", head + b"X-Receiver: e@d.example NOTIFY=ODD\nA: b\n\n")
        (server.folder / "half.tmp").write_bytes(head)
        (server.folder / "link").symlink_to("/etc/passwd")
        server.wait_gone("good", "empty", "no-domain", "some", "link")
        bad = server.folder / "bad"
        reasons = {p.stem: p.read_text() for p in bad.glob("*.reason")}
        assert sorted(reasons) == ["empty", "link", "no-domain", "some"]
        assert "no recipients" in reasons["empty"]
        assert reasons["no-domain"] == "554 5.6.0 <c@>: the domain is missing\n"
        assert "queued as" in reasons["some"] and "to all but: 501 5.5.4" in reasons["some"]
        assert (server.folder / "half.tmp").exists()
        assert by_recipient(server.wait_records(3, "Delivery")) == [
            "c@d.example", "c@d.example", "e@d.example",
        ]  # fmt: skip
        assert all(r.get("tenant", "") == "" for r in server.records("Delivery"))
        assert all(b"X-Receiver" not in got.content for got in remote.received)
        totals = server.status()["totals"]
        assert (totals["pickup_files"], totals["pickup_bad"]) == (1, 4)
        assert {r["session"] for r in server.records("Reception")} == {"pickup good", "pickup some"}


def test_control_headers_where_they_are_believed(tmp_path: Path) -> None:
    flags = ("-o", "pickup.control_headers=true")
    with RemoteMX() as remote, Dropping(tmp_path, *flags, port=remote.port) as server:
        server.drop("one", b"X-Sender: a@b\nX-Receiver: c@d.example\nX-Tenant: acme\nA: b\n\n")
        [record] = server.wait_records(1, "Delivery")
        assert record["tenant"] == "acme"
        assert b"X-Tenant" not in remote.received[0].content


def test_files_wait_while_the_spool_takes_nothing(tmp_path: Path) -> None:
    flags = ("-o", "disk.min_free=900TB")
    with RemoteMX() as remote:
        server = Dropping(tmp_path, *flags, port=remote.port)
        with server:
            server.drop("one", b"To: c@d.example\nFrom: a@b\n\n")
            server.wait_records(1, "Rejection")
            assert (server.folder / "one").exists()
        server.flags = server.flags[:4]
        with server:
            server.wait_gone("one")
            server.wait_records(1, "Delivery")


def test_many_files_over_kills_are_all_delivered(tmp_path: Path) -> None:
    count = 300
    with RemoteMX() as remote:
        server = Dropping(tmp_path, port=remote.port)
        with server:
            for number in range(count):
                server.drop(f"{number}", b"From: a@b\nTo: u%d@d.example\n\nx\n" % number)
                if number in (100, 200):
                    os.kill(server.worker(), signal.SIGKILL)
            server.wait_gone(*map(str, range(count)))
            server.wait_records(count, "Delivery")
            server.wait_empty()
        delivered = by_recipient(server.records("Delivery"))
        assert set(delivered) == {f"u{n}@d.example" for n in range(count)}
        assert len(delivered) <= count + 2 * 100  # a batch that was stored and not yet removed
