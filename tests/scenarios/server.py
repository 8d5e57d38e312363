"""A real server for a scenario: started on free ports, ended by process id."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mta._speedups.sharedtable import SIGN_HOLDS
from mta.maillog import reader
from mta.testing.ports import free_port
from tests.waiting import PATIENCE, STEP, wait

BODY = "Subject: scenario\r\n\r\nhello\r\n"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process hangs meanwhile, so long already that no worker takes it for alive."""
    os.kill(pid, signal.SIGSTOP)
    try:
        since = time.monotonic()
        wait(lambda: time.monotonic() > since + SIGN_HOLDS + 1)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Server:
    """`mta serve` in a folder of its own."""

    patience = PATIENCE  # seconds for the answer to a control request

    def __init__(self, home: Path, *flags: str, workers: int = 1) -> None:
        self.home, self.port = home, free_port()
        self.flags, self.workers = flags, workers
        self.environment: dict[str, str] = {}  # beside that of the test
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self.stop()
        if kind is None:
            assert not self.surprises(), self.surprises()

    def command(self) -> list[str]:
        """The command line."""
        return [
            sys.executable, "-m", "mta.cli.main", "serve", "--home", str(self.home),
            "--listen", f"127.0.0.1:{self.port}", "--workers", str(self.workers), *self.flags,
        ]  # fmt: skip

    def start(self, timeout: float = PATIENCE) -> None:
        """Start and wait for the line that says ready."""
        where = self.launch()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            text = (self.home / "output.log").read_text()[where:]
            if "\nready" in text or text.startswith("ready"):
                return
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(STEP)
        self.stop()
        raise AssertionError("the server did not start:\n" + self.said())

    def launch(self) -> int:
        """Start the process alone; where in the output its lines begin."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.output = (self.home / "output.log").open("a+")
        where = self.output.tell()
        self.process = subprocess.Popen(
            self.command(), stdout=self.output, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, env=os.environ | self.environment,
        )  # fmt: skip
        return where

    def said(self) -> str:
        """All that it printed."""
        return (self.home / "output.log").read_text()

    def surprises(self) -> str:
        """Tracebacks of errors that nobody expected."""
        return "".join(file.read_text() for file in self.home.glob("log/*.err"))

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM, and wait; the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.output.close()
        self.process = None
        return code

    def kill(self) -> None:
        """SIGKILL to the supervisor and every worker."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()
        self.process = None

    def send(
        self, *recipients: str, sender: str = "sender@source.example", body: str | bytes = BODY
    ) -> str:
        """One message by smtplib; the id that the reply names."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            client.ehlo("client.example")
            client.mail(sender)
            for recipient in recipients:
                code, text = client.rcpt(recipient)
                assert code == 250, text
            code, text = client.data(body)
            assert code == 250, text
            return text.decode().rpartition(" ")[2]

    def ask(self, op: str, **args: Any) -> Any:
        """A control request's result; RuntimeError with the refusal."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(self.patience)
            sock.connect(str(self.home / "control.sock"))
            sock.sendall(json.dumps({"op": op, "args": args}).encode() + b"\n")
            with sock.makefile() as lines:
                for line in lines:
                    answer = json.loads(line)
                    if "error" in answer:
                        raise RuntimeError(answer["error"])
                    if "ok" in answer:
                        return answer["result"]
        raise RuntimeError("no answer")

    def status(self) -> dict[str, Any]:
        """`status` with the figures of all workers; one that is busy or starting is waited for."""
        found: dict[str, Any] = {}

        def complete() -> bool:
            found.update(self.ask("status"))
            return all("pid" in worker for worker in found["workers"])

        wait(complete, lambda: found)
        return found

    def records(self, *types: str) -> list[dict[str, Any]]:
        """The log's records so far, of these types or all, by time."""
        every = list(reader.read_all(self.home / "log"))
        return [r for r in every if not types or r["type"] in types]

    def wait_records(self, count: int, *types: str) -> list[dict[str, Any]]:
        """Wait until the log has so many records of these types."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            found[:] = self.records(*types)
            return len(found) >= count

        wait(enough, lambda: f"{len(found)} of {count} {types} records; it said:\n{self.said()}")
        return found

    def wait_empty(self) -> None:
        """Wait until nothing is queued."""
        wait(lambda: not self.ask("queue.list", limit=1), lambda: self.ask("queue.list", limit=5))

    def wait_said(self, text: str, times: int = 1) -> None:
        """Wait until it has printed this."""
        wait(lambda: self.said().count(text) >= times, lambda: f"{text!r} not in:\n{self.said()}")
