"""Sessions are spread over the workers, and workers replaced under load, on a real server."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections import Counter
from pathlib import Path

from mta.testing.remote import RemoteMX
from tests.load.clients import Tally, talk
from tests.scenarios.server import Server, stopped
from tests.waiting import PATIENCE, wait


def sessions(server: Server) -> list[int]:
    return [worker["sessions"] for worker in server.status()["workers"]]


def test_four_connections_use_both_workers(tmp_path: Path) -> None:
    with Server(tmp_path, workers=2) as server:
        for _ in range(8):
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
            for client in clients:
                assert client.recv(4) == b"220 "
            assert sessions(server) == [2, 2]
            for client in clients:
                client.close()
            wait(lambda: not sum(sessions(server)), "sessions that have ended are counted")
        assert server.status()["totals"]["sessions_handed_over"] > 0


def test_a_session_that_was_handed_over_delivers(tmp_path: Path) -> None:
    with (
        RemoteMX() as remote,
        Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", workers=2) as server,
    ):
        clients = [smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) for _ in range(6)]
        for number, client in enumerate(clients):
            client.sendmail("a@source.example", f"r{number}@b.example", "Subject: x\r\n\r\nx\r\n")
        assert sessions(server) == [3, 3]
        for client in clients:
            client.quit()
        found = server.wait_records(6, "Delivery")
        assert Counter(record.get("shard", 0) for record in found) == {0: 3, 1: 3}


def test_a_worker_that_hangs_keeps_no_client_waiting(tmp_path: Path) -> None:
    """Every new connection is greeted, whichever worker the kernel or another one gave it to."""
    with Server(tmp_path, workers=2) as server:
        [hangs, _] = server.status()["workers"]
        with stopped(hangs["pid"]):
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(24)]
            for client in clients:
                client.settimeout(PATIENCE)
                assert client.recv(4) == b"220 "
        # Of so many some met the one that hung, and 24 are far more than the other's share.
        assert sessions(server) == [0, 24]
        for client in clients:
            client.close()
        wait(lambda: not sum(sessions(server)), "sessions that have ended are counted")


def test_workers_are_replaced_under_load(tmp_path: Path) -> None:
    """No connection is refused, every 250 ends in one Delivery; idle sessions get 421."""
    with (
        RemoteMX() as remote,
        Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", workers=2) as server,
    ):
        tally, until = Tally(), threading.Event()
        threads = [
            threading.Thread(target=talk, args=(server.port, n, n % 2 == 0, tally, until))
            for n in range(24)
        ]
        for thread in threads:
            thread.start()
        before = [worker["pid"] for worker in server.status()["workers"]]
        for _ in range(2):
            assert server.ask("worker.restart") == {"restarted": [0, 1]}
        until.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        after = server.status()
        assert not set(before) & {worker["pid"] for worker in after["workers"]}
        assert after["totals"]["restarts"] == 0
        assert tally.problems == []
        assert tally.closed_by_421 > 0 and len(tally.accepted) > 24
        server.wait_empty()
        server.stop()
        delivered = Counter(record["id"] for record in server.records("Delivery"))
        assert delivered == Counter(tally.accepted)
        assert "ended" not in server.said()
