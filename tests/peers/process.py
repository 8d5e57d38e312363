"""A mail program of others: a folder, a port, a process group; nothing of it outlives the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mta.testing.ports import free_port
from tests.waiting import PATIENCE, STEP

if TYPE_CHECKING:
    from collections.abc import Callable


class PeerProcess:
    """Starts `command()` in the foreground after `prepare()`; a context manager."""

    name = "peer"

    def __init__(self) -> None:
        # Not below pytest's own folder, which only root may enter: peers drop their privileges.
        self.folder = Path(tempfile.mkdtemp(prefix=f"mta-{self.name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Write the configuration."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The program in the foreground."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, timeout: float = PATIENCE) -> None:
        """Start, and wait until the port answers with a greeting."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + timeout
        while not self._greets():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.name} did not start:\n{self.said()}")
            time.sleep(STEP)

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as sock:
                greeting = sock.recv(512)
                sock.sendall(b"QUIT\r\n")
                return greeting.startswith(b"220")
        except OSError:
            return False

    def said(self) -> str:
        """What it printed and logged."""
        files = [self.folder / "output", *sorted(self.folder.glob("log/*"))]
        return "\n".join(f.read_text(errors="replace") for f in files if f.is_file())

    def stop(self, timeout: float = 30) -> None:
        """SIGTERM to it, then SIGKILL to whatever is left of its process group."""
        process, self._process = self._process, None
        if process is None:
            return
        leader = self.leader(process.pid)
        signal_to(os.kill, leader, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        for group in {leader, process.pid}:
            signal_to(os.killpg, group, signal.SIGKILL)
        process.wait()

    def leader(self, pid: int) -> int:
        """The process that SIGTERM ends all by: what was started, or what that says it became."""
        return pid


def signal_to(send: Callable[[int, int], None], pid: int, number: int) -> None:
    """`os.kill` or `os.killpg`, of a process that may have gone."""
    with contextlib.suppress(ProcessLookupError):
        send(pid, number)


class MaildirPeer(PeerProcess):
    """A receiver that delivers everything into one maildir."""

    def maildir(self) -> Path:
        """The folder with `new`."""
        return self.folder / "mail" / "box"

    def count(self) -> int:
        """Messages delivered so far."""
        new = self.maildir() / "new"
        return sum(1 for _ in os.scandir(new)) if new.is_dir() else 0

    def wait(self, count: int, timeout: float = PATIENCE) -> list[bytes]:
        """Wait for so many messages; all of them as they were stored, lines ended by LF."""
        deadline = time.monotonic() + timeout
        while (found := self.count()) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{found} of {count} at {self.name}:\n{self.said()[-4000:]}")
            time.sleep(STEP)
        return self.messages()

    def messages(self) -> list[bytes]:
        """What was delivered, in no order."""
        return [path.read_bytes() for path in (self.maildir() / "new").iterdir()]

    def clear(self) -> None:
        """Forget what was delivered."""
        for path in (self.maildir() / "new").glob("*"):
            path.unlink()
