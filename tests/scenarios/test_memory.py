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


def client(port: int, declared: bytes, seen: Counter[str], end: float) -> None:
    """Send one large message; come again after a 452 at MAIL or DATA."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        lines = sock.makefile("rb")
        lines.readline()
        command(lines, sock, b"EHLO c\r\n")
        while time.monotonic() < end:
            steps = (b"MAIL FROM:<a@c.example>" + declared, b"RCPT TO:<b@d.example>", b"DATA")
            for step in steps:
                answer = command(lines, sock, step + b"\r\n")
                if answer[:3] not in (b"250", b"354"):
                    break
            else:
                answer = command(lines, sock, CONTENT + b".\r\n")
                seen[f"content {answer[:3].decode()}"] += 1
                return
            seen[answer[:9].decode()] += 1
            command(lines, sock, b"RSET\r\n")
            threading.Event().wait(0.1)


@pytest.mark.parametrize("declared", [b" SIZE=%d" % len(CONTENT), b""])
def test_large_messages_at_once(tmp_path: Path, declared: bytes) -> None:
    flags = ["-o", f"queue.body_memory={BUDGET}", "-o", "smtpd.max_size=10MB", "--memory", "200MB"]
    with (
        RemoteMX() as remote,
        Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", *flags, workers=2) as server,
    ):
        seen: Counter[str] = Counter()
        end = time.monotonic() + PATIENCE
        before = memory(server)
        threads = [
            threading.Thread(target=client, args=(server.port, declared, seen, end))
            for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        peak = most = 0.0
        while any(thread.is_alive() for thread in threads):
            peak = max(peak, memory(server) - before)
            most = max(most, server.status()["totals"]["body_bytes"])
            time.sleep(0.05)
        assert seen["content 250"] == CLIENTS, seen
        assert set(seen) <= {"content 250", "452 4.3.1"}
        waits = server.status()["totals"]["content_waits"]
        assert seen["452 4.3.1"] if declared else waits, (seen, waits)
        print("peak", peak, "contents", most, seen, "waits", waits)
        server.wait_records(CLIENTS, "Delivery")
        # The contents, copies of those in a commit group, the spool's caches: below the cap.
        assert peak < 150_000_000, (peak, most)
        assert most <= BUDGET


def memory(server: Server) -> float:
    """PSS of the workers, octets."""
    totals = server.status()["totals"]
    return sum(value for name, value in totals.items() if name.startswith("pss:worker"))
