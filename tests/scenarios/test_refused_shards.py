"""A shard that cannot be opened: the others serve, and it joins them when it can."""

from __future__ import annotations

import smtplib
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mta.model import id_bytes, id_shard
from mta.testing.remote import RemoteMX
from tests.scenarios.server import BODY, Server
from tests.waiting import PATIENCE, wait


def shard_of(id: str) -> int:
    return id_shard(id_bytes(id))


@contextmanager
def unreadable(home: Path, shard: int) -> Iterator[None]:
    """A shard's database cannot be found meanwhile."""
    current = home / "spool" / f"shard-{shard:04}" / "CURRENT"
    kept = current.read_bytes()
    current.write_bytes(b"garbage")
    try:
        yield
    finally:
        current.write_bytes(kept)


def filled(home: Path, flags: tuple[str, ...], workers: int) -> dict[int, list[str]]:
    """Held mail in each of two shards; the ids by shard."""
    ids: dict[int, list[str]] = {0: [], 1: []}
    with Server(home, *flags, workers=workers) as server:
        server.ask("act", verb="hold", select={"all": True})
        # Sessions that are open at the same time are shared out.
        clients = [smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) for _ in range(8)]
        for number, client in enumerate(clients):
            client.sendmail("s@source.example", f"r{number}@b.example", BODY)
            client.quit()
        for row in server.ask("queue.list"):
            ids[shard_of(row["id"])].append(row["id"])
    return ids


def greeting(server: Server) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        return client.recv(200).decode()


def test_one_of_two_is_refused_and_the_other_serves(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        flags = ("--route", f"*=127.0.0.1:{remote.port}", "-o", "shards=2")
        ids = filled(tmp_path, flags, workers=2)
        assert ids[0] and ids[1]
        with Server(tmp_path, *flags, workers=2) as server:
            server.stop()
            with unreadable(tmp_path, 1):
                server.start()
                server.wait_said("ready, 1 of 2 workers")
                assert server.said().count("shard 1 is refused: ") == 1
                released = server.ask("act", verb="release", select={"all": True})
                sent = [server.send(f"new{n}@b.example") for n in range(16)]  # none hangs
                assert {shard_of(id) for id in sent} == {0}
                server.wait_records(len(sent) + len(ids[0]), "Delivery")
                status = server.ask("status")
                assert status["ready"] and "shard 1 is refused: " in status["degraded"][0]
                assert status["totals"]["shards_serving"] == 1
                assert status["totals"]["shards_refused"] == 1
                for op in ("queue.show", "message.follow"):
                    with pytest.raises(RuntimeError, match="shard 1 is refused"):
                        server.ask(op, id=ids[1][0])
                assert server.ask("queue.list") == []
                assert server.ask("queue.top") == []
                [refused] = server.ask("shards.refused")
                assert refused.startswith("shard 1 is refused: ")
                acts = [act["sequence"] for act in server.ask("act.list")]
                assert released["act"] in acts, "it waits for the shard that is refused"
            server.wait_said("shard 1 serves again")
            every = sent + ids[0] + ids[1]
            found = server.wait_records(len(every), "Delivery")
            assert Counter(record["id"] for record in found) == Counter(every)
            wait(lambda: not server.ask("act.list"), "the release has been swept everywhere")
            assert server.ask("status")["degraded"] == []


def test_a_worker_of_two_shards_serves_one(tmp_path: Path) -> None:
    """Its home is the first that serves; the other one joins it."""
    with RemoteMX() as remote:
        flags = ("--route", f"*=127.0.0.1:{remote.port}", "-o", "shards=2")
        ids = filled(tmp_path, flags, workers=1)
        assert ids[0] and not ids[1]
        with Server(tmp_path, *flags, workers=1) as server:
            server.stop()
            with unreadable(tmp_path, 0):
                server.start()
                server.wait_said("ready, 1 workers")
                server.ask("act", verb="release", select={"all": True})
                sent = [server.send("new@b.example")]
                assert shard_of(sent[0]) == 1
                server.wait_records(1, "Delivery")
            server.wait_said("shard 0 serves again")
            found = server.wait_records(1 + len(ids[0]), "Delivery")
            assert Counter(record["id"] for record in found) == Counter(sent + ids[0])
            sent.append(server.send("new@b.example"))
            assert shard_of(sent[1]) == 1
            wait(lambda: not server.ask("act.list"), "the release has been swept everywhere")
            server.wait_empty()


def test_without_any_shard_clients_are_asked_to_come_again(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        flags = ("--route", f"*=127.0.0.1:{remote.port}", "-o", "shards=2")
        with Server(tmp_path, *flags, workers=2) as server:
            server.stop()
            with unreadable(tmp_path, 0), unreadable(tmp_path, 1):
                server.launch()
                server.wait_said("shard 0 is refused: ")
                server.wait_said("shard 1 is refused: ")
                for _ in range(8):
                    said = greeting(server)
                    assert said.startswith("421 4.3.0 ") and "shard" not in said
                status = server.ask("status")
                assert not status["ready"] and len(status["not_ready"]) == 2
            server.wait_said("shard 0 serves again")
            server.wait_said("shard 1 serves again")
            server.wait_said("ready, ")
            server.send("r@b.example")
            server.wait_records(1, "Delivery")


def test_a_stop_does_not_wait_for_a_shard(tmp_path: Path) -> None:
    with Server(tmp_path, "-o", "grace=1h") as server:
        server.stop()
        with unreadable(tmp_path, 0):
            server.launch()
            server.wait_said("shard 0 is refused: ")
            assert server.stop() == 0  # in far less than `grace`


def test_a_worker_without_a_shard_is_replaced(tmp_path: Path) -> None:
    with Server(tmp_path, "-o", "shards=2", workers=2) as server:
        server.stop()
        with unreadable(tmp_path, 1):
            server.start()
            before = [worker["pid"] for worker in server.status()["workers"]]
            assert server.ask("worker.restart") == {"restarted": [0, 1]}
            after = [worker["pid"] for worker in server.status()["workers"]]
            assert not set(before) & set(after)
            server.send("r@b.example")
