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
from pathlib import Path
from typing import Any

from mta.maillog import reader

BODY = "Subject: scenario\r\n\r\nhello\r\n"


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


class Server:
    """`mta serve` in a folder of its own."""

    patience = 30.0  # seconds for the answer to a control request

    def __init__(self, home: Path, *flags: str, workers: int = 1) -> None:
        self.home, self.port = home, free_port()
        self.flags, self.workers = flags, workers
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

    def start(self, timeout: float = 30) -> None:
        """Start and wait for the line that says ready."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.output = (self.home / "output.log").open("a+")
        where = self.output.tell()
        self.process = subprocess.Popen(
            self.command(), stdout=self.output, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            text = (self.home / "output.log").read_text()[where:]
            if "\nready" in text or text.startswith("ready"):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        raise AssertionError("the server did not start:\n" + self.said())

    def said(self) -> str:
        """All that it printed."""
        return (self.home / "output.log").read_text()

    def surprises(self) -> str:
        """Tracebacks of errors that nobody expected."""
        return "".join(file.read_text() for file in self.home.glob("log/*.err"))

    def stop(self, timeout: float = 30) -> int:
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
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
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

    def records(self, *types: str) -> list[dict[str, Any]]:
        """The log's records so far, of these types or all, by time."""
        every = list(reader.read_all(self.home / "log"))
        return [r for r in every if not types or r["type"] in types]

    def wait_records(self, count: int, *types: str, timeout: float = 30) -> list[dict[str, Any]]:
        """Wait until the log has so many records of these types."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.records(*types)
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{len(found)} of {count} {types} records; it said:\n{self.said()}")

    def wait_empty(self, timeout: float = 30) -> None:
        """Wait until nothing is queued."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.ask("queue.list", limit=1):
                return
            time.sleep(0.05)
        raise AssertionError(f"still queued: {self.ask('queue.list', limit=5)}")
