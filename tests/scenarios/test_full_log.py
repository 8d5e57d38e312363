"""The log's disk is full: mail goes on, outcomes are safe, and logged once when there is room."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mta.maillog import reader
from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server
from tests.waiting import wait

ROOM = 512  # kB
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


def test_a_full_log_stops_no_mail_and_repeats_none(tmp_path: Path, disk: SmallDisk) -> None:
    with RemoteMX() as remote:
        server = OnSmallDisk(tmp_path, disk, "--route", f"*=127.0.0.1:{remote.port}")
        with server:
            ids = [server.send("first@dest.example")]
            server.wait_records(1, "Delivery")
            disk.fill()
            ids += [server.send(f"{os.urandom(100).hex()}@dest.example") for n in range(40)]
            remote.wait(41)
            server.wait_empty()
            wait(lambda: "log_kept" in server.alarms(), server.alarms)
            reason = server.alarms()["log_kept"]
            assert "the log cannot be written: No space left on device" in reason
            status = server.status()
            assert status["ready"] and status["totals"]["kept"] > 0
            assert len(server.records("Delivery")) < 41
            server.kill()

            server.start()  # with a log that still takes nothing
            ids.append(server.send("last@dest.example"))
            remote.wait(42)
            server.wait_empty()
            wait(lambda: "log_kept" in server.alarms(), server.alarms)
            disk.empty()
            server.wait_records(42, "Delivery")
            assert [r["id"] for r in server.records("Reception")] == ids
            assert Counter(r["id"] for r in server.records("Delivery")) == Counter(ids)
            wait(lambda: not server.alarms(), server.alarms)
            assert server.status()["totals"]["kept"] == 0
            server.wait_said("alarm log_kept is over")
        assert len(remote.received) == 42
