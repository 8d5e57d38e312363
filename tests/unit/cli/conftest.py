"""A command line in this process, a control socket with scripted answers, a small DNS server."""

from __future__ import annotations

import functools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import typer.main

from mta.cli.main import main

get_command = functools.cache(typer.main.get_command)


class Ran(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mta` with these arguments."""
    for name in ("MTA_HOME", "MTA_SOCKET", "MTA_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("typer.main.get_command", get_command)  # reads every command each time

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["mta", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Ran(code, *capsys.readouterr())

    return call


class Server:
    """Answers each operation with the lines it was given; remembers the requests."""

    def __init__(self, home: Path) -> None:
        self.home, self.answers, self.requests = home, {}, []  # type: ignore[var-annotated]
        self.answer("shards.refused", result=[])
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(home / "control.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def answer(self, op: str, *parts: Any, result: Any = None, error: str = "") -> None:
        """What `op` is answered with; an empty tuple of lines closes the connection."""
        end = {"error": error, "hint": "try harder"} if error else {"ok": True, "result": result}
        self.answers[op] = [json.dumps({"part": part}) for part in parts] + [json.dumps(end)]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, connection.makefile("rwb") as file, suppress(ConnectionError):
                    line = file.readline()
                    if not line:
                        return
                    request = json.loads(line)
                    self.requests.append(request)
                    for text in self.answers.get(request["op"], []):
                        file.write(text.encode() + b"\n")

    def close(self) -> None:
        """A connection without a request ends the thread."""
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.home / "control.sock"))
        self._thread.join()
        self._listener.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A control socket in a home folder."""
    found = Server(tmp_path)
    yield found
    found.close()


@contextmanager
def dns_server(zone: dict[tuple[str, str], list[str]], code: int = 0) -> Iterator[str]:
    """Answers over UDP from {(name, type): [value]}; yields address:port."""

    def reply(data: bytes) -> bytes:
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        answer.set_rcode(dns.rcode.Rcode(code))
        asked = question.question[0]
        kind = dns.rdatatype.to_text(asked.rdtype)
        values = zone.get((asked.name.to_text().rstrip("."), kind), [])
        if values:
            answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, *values))
        return answer.to_wire()

    def serve() -> None:
        while True:
            data, peer = sock.recvfrom(4096)
            if not data:
                return
            sock.sendto(reply(data), peer)

    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{sock.getsockname()[1]}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", sock.getsockname())
            thread.join()


@pytest.fixture
def resolving() -> Callable[..., Any]:
    """`dns_server`, for tests."""
    return dns_server
