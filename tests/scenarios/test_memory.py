"""Large messages at once: each is accepted in the end, and memory stays in its bounds."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE

CLIENTS, SIZE, BUDGET = 40, 5_000_000, 50_000_000
LINE = b"0123456789abcdef" * 4 + b"\r\n"
CONTENT = b"Subject: large\r\n\r\n" + LINE * (SIZE // len(LINE))


def command(lines: object, sock: socket.socket, line: bytes) -> bytes:
    sock.sendall(line)
    while (answer := lines.readline())[3:4] == b"-":  # type: ignore[attr-defined]
        pass
    return answer  # type: ignore[no-any-return]


class Crowd:
    """Clients with one large message each; none goes on before all have asked to send theirs."""

    def __init__(self, port: int, declared: bytes) -> None:
        self.seen: list[str] = []  # answers that matter
        self._port, self._declared = port, declared
        self._asked = threading.Barrier(CLIENTS)
        self._threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        """Somebody has not got rid of the message."""
        return any(thread.is_alive() for thread in self._threads)

    def _client(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE) as sock:
            lines = sock.makefile("rb")
            lines.readline()
            command(lines, sock, b"EHLO c\r\n")
            end = time.monotonic() + PATIENCE
            answer = self._ask(lines, sock)
            self._asked.wait(PATIENCE)
            while answer[:3] != b"354" and time.monotonic() < end:
                self.seen.append(answer[:9].decode())
                command(lines, sock, b"RSET\r\n")
                threading.Event().wait(0.1)
                answer = self._ask(lines, sock)
            answer = command(lines, sock, CONTENT + b".\r\n")
            self.seen.append(f"content {answer[:3].decode()}")

    def _ask(self, lines: object, sock: socket.socket) -> bytes:
        """354, or what came instead at MAIL, RCPT or DATA."""
        for step in (b"MAIL FROM:<a@c.example>" + self._declared, b"RCPT TO:<b@d.example>"):
            answer = command(lines, sock, step + b"\r\n")
            if answer[:3] != b"250":
                return answer
        return command(lines, sock, b"DATA\r\n")


@pytest.mark.parametrize("declared", [b" SIZE=%d" % len(CONTENT), b""])
def test_large_messages_at_once(tmp_path: Path, declared: bytes) -> None:
    flags = ["-o", f"queue.body_memory={BUDGET}", "-o", "smtpd.max_size=10MB", "--memory", "200MB"]
    with (
        RemoteMX() as remote,
        Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", *flags, workers=2) as server,
    ):
        before = memory(server)
        crowd = Crowd(server.port, declared)
        peak = most = 0.0
        while crowd.busy:
            peak = max(peak, memory(server) - before)
            most = max(most, server.status()["totals"]["body_bytes"])
            time.sleep(0.05)
        seen = Counter(crowd.seen)
        assert seen["content 250"] == CLIENTS, seen
        assert set(seen) <= {"content 250", "452 4.3.1"}
        waits = server.status()["totals"]["content_waits"]
        assert waits, "a declared size is no more than a declaration"
        print("peak", peak, "contents", most, seen, "waits", waits)
        server.wait_records(CLIENTS, "Delivery")
        # The contents, copies of those in a commit group, the spool's caches: below the cap.
        assert peak < 150_000_000, (peak, most)
        assert most <= BUDGET


def memory(server: Server) -> float:
    """PSS of the workers, octets."""
    totals = server.status()["totals"]
    return sum(value for name, value in totals.items() if name.startswith("pss:worker"))
