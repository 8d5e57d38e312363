"""The log's disk is full: mail goes on, outcomes are safe, and logged once when there is room."""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mta.maillog import reader
from mta.testing.remote import Manners, RemoteMX
from tests.scenarios.server import Server
from tests.waiting import wait

ROOM = 512  # kB
FLAGS = ("-o", "disk.min_free=0", "-o", 'retry.schedule=["1s"]', "-o", "retry.jitter=0")
MOUNT = 'mount -t tmpfs -o size={}k none "$0" && echo mounted && exec sleep 3600'


class SmallDisk:
    """A mount namespace in which a folder is a disk of its own, as long as it lives."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid():
            pytest.skip("only root can mount a small disk")
        folder.mkdir(parents=True)
        self.folder = folder
        shell = ["sh", "-c", MOUNT.format(ROOM), str(folder)]
        command = ["unshare", "--mount", "--propagation", "private", "--", *shell]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        said = self.process.stdout.readline().decode()
        if said != "mounted\n":
            self.close()
            pytest.skip(f"a small disk cannot be mounted: {said.strip()}")
        self.seen = Path(f"/proc/{self.process.pid}/root{folder}")  # from outside

    def inside(self, command: list[str]) -> list[str]:
        """A command that sees the disk."""
        return [
            "nsenter",
            f"--mount=/proc/{self.process.pid}/ns/mnt",
            f"--wd={Path.cwd()}",
            *command,
        ]

    def fill(self) -> None:
        """Leave no octet."""
        with (self.seen / "ballast").open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.seen / "ballast").unlink()

    def close(self) -> None:
        """The disk is gone."""
        self.process.kill()
        self.process.communicate()


class OnSmallDisk(Server):
    """A server whose log has a small disk."""

    def __init__(self, home: Path, disk: SmallDisk, *flags: str) -> None:
        super().__init__(home, *flags)
        self.disk = disk

    def command(self) -> list[str]:
        return self.disk.inside(super().command())

    def records(self, *types: str) -> list[dict[str, Any]]:
        every = list(reader.read_all(self.disk.seen))
        return [r for r in every if not types or r["type"] in types]

    def alarms(self) -> dict[str, str]:
        """The reasons of what is wrong, by alarm."""
        return {alarm["alarm"]: alarm["reason"] for alarm in self.ask("status")["alarms"]}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "log")
    yield disk
    disk.close()


def test_a_full_log_stops_no_delivery_and_repeats_none(tmp_path: Path, disk: SmallDisk) -> None:
    welcome: set[str] = set()
    manners = Manners(rcpt=lambda to: None if to[:4] in welcome else "450 4.2.0 later")
    with RemoteMX(manners) as remote:
        server = OnSmallDisk(tmp_path, disk, "--route", f"*=127.0.0.1:{remote.port}", *FLAGS)
        with server:
            ids = [server.send(f"soon-{os.urandom(90).hex()}@dest.example") for n in range(40)]
            ids.append(server.send("late@dest.example"))
            server.wait_records(41, "TransientFailure")
            disk.fill()
            welcome.add("soon")
            remote.wait(40)
            wait(lambda: len(server.ask("queue.list", limit=5)) == 1)
            wait(lambda: "log_kept" in server.alarms(), server.alarms)
            reason = server.alarms()["log_kept"]
            assert "the log cannot be written: No space left on device" in reason
            assert server.status()["totals"]["kept"] > 0
            assert len(server.records("Delivery")) < 40
            assert refused(server)
            server.kill()

            server.start()  # with a log that still takes nothing
            welcome.add("late")
            remote.wait(41)
            server.wait_empty()
            wait(lambda: "log_kept" in server.alarms(), server.alarms)
            disk.empty()
            server.wait_records(41, "Delivery")
            wait(lambda: not server.alarms(), server.alarms)
            assert server.status()["totals"]["kept"] == 0
            server.wait_said("alarm log_kept is over")
            wait(lambda: server.status()["ready"], server.status)
            welcome.add("last")
            ids.append(server.send("last@dest.example"))
            server.wait_records(42, "Delivery")
            assert [r["id"] for r in server.records("Reception")] == ids
            assert Counter(r["id"] for r in server.records("Delivery")) == Counter(ids)
        assert len(remote.received) == 42


def refused(server: Server) -> bool:
    """Whether new mail is refused for want of room."""
    with pytest.raises(smtplib.SMTPDataError) as caught:
        server.send("nobody@dest.example")
    return caught.value.smtp_code == 452
