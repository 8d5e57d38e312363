"""A disk of its own that fills up: what is accepted leaves, and new mail is taken again."""

from __future__ import annotations

import contextlib
import os
import smtplib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mta.testing.ports import free_port
from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

MB = 1_000_000
SIZE = 80  # MB
BODY = 40_000
CLIENTS = 4


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of its own, in a file."""
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE << 20)
    for command in (["mkfs.ext4", "-q", "-F", "-m", "0", image], ["mount", "-o", "loop", image]):
        try:
            where = [folder] if command[0] == "mount" else []
            subprocess.run([*command, *where], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"{command[0]} does not work here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=False)


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Watch:
    """The least that was free, looked at all the time."""

    def __init__(self, folder: Path) -> None:
        self.least, self._folder, self._end = free(folder), folder, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.005):
            self.least = min(self.least, free(self._folder))


def content() -> str:
    """Letters that no compression makes small."""
    text = os.urandom(BODY // 2).hex()
    lines = (text[at : at + 70] for at in range(0, len(text), 70))
    return "Subject: fill\r\n\r\n" + "\r\n".join(lines) + "\r\n"


def fill(server: Server) -> int:
    """Send until all is refused; how many messages were accepted."""
    accepted: list[int] = []

    def client() -> None:
        refused = 0
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as smtp:
            smtp.ehlo("client.example")
            while refused < 12:  # a look at the disk comes once a second
                try:
                    smtp.sendmail("a@source.example", ["b@dest.example"], content())
                except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
                    refused += 1
                    time.sleep(0.1)
                else:
                    refused = 0
                    accepted.append(1)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(accepted)


def taken(server: Server) -> bool:
    """Whether new mail is accepted."""
    with contextlib.suppress(AssertionError, smtplib.SMTPException):
        server.send("again@dest.example")
        return True
    return False


def arranged(disk: Path, kept: str, workers: int = 1) -> tuple[RemoteMX, Server]:
    """A receiver that is not there yet, and a server for it."""
    remote = RemoteMX(port=free_port())
    flags = ("--route", f"*=127.0.0.1:{remote.port}", "-o", f"disk.min_free={kept}")
    soon = ("--retry", "1s", "-o", "retry.jitter=0")
    return remote, Server(disk / "home", *flags, *soon, workers=workers)


def ended_once(server: Server, count: int) -> None:
    """Every accepted recipient has its one terminal record."""
    records = server.wait_records(count, "Delivery", "Bounce", "Expiration", "Removed")
    assert {r["type"] for r in records} == {"Delivery"}
    assert len({r["id"] for r in records}) == len(records)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_backlog_fills_the_disk_and_leaves(disk: Path, workers: int) -> None:
    remote, server = arranged(disk, "20MB", workers)
    with Watch(disk) as watch, server:
        accepted = fill(server)
        assert accepted > 200
        assert not taken(server)
        with remote:
            remote.wait(accepted)
            wait(lambda: taken(server), lambda: server.status()["not_ready"])
            ended_once(server, accepted)
        assert watch.least >= 20 * MB, watch.least
        assert server.surprises() == ""


def fill_up(disk: Path) -> None:
    """Leave nothing, as another program might."""
    with (disk / "filler").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()


@pytest.mark.parametrize("how", ["goes on", "is killed", "is stopped"])
def test_a_disk_that_is_full_to_the_last_block(disk: Path, how: str) -> None:
    remote, server = arranged(disk, "0")
    with server:
        accepted = fill(server)
        assert accepted > 200
        fill_up(disk)
        assert free(disk) < MB
        if how == "is killed":
            server.kill()
            server.start()
        elif how == "is stopped":
            server.stop()
            server.start()
        with remote:
            remote.wait(accepted)
            (disk / "filler").unlink()
            wait(lambda: taken(server), lambda: server.status()["not_ready"])
            ended_once(server, accepted)
        server.wait_empty()
