"""Starts that are disturbed: the server lives and delivers as soon as it can."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server
from tests.waiting import wait

ROUNDS = 6


def children(server: Server) -> set[int]:
    assert server.process is not None
    pid = server.process.pid
    return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_killed_in_their_first_moments(tmp_path: Path, workers: int) -> None:
    chance = random.Random(workers)
    with RemoteMX() as remote:
        server = Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", workers=workers)
        server.launch()
        killed = set[int]()
        for _ in range(ROUNDS):
            wait(lambda: children(server) - killed, "no worker is started")
            time.sleep(chance.random() * 0.5)  # anywhere in its start
            for pid in children(server) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        server.wait_said("ready, ")  # which may tell of one that was killed
        wait(lambda: not killed & children(server) and server.status()["ready"])
        server.send("r@b.example")
        server.wait_records(1, "Delivery")
        assert len(killed) >= ROUNDS
        assert server.stop() == 0
        assert not server.surprises()


def test_state_that_can_only_be_read(tmp_path: Path) -> None:
    """No index of its log can be made beside it: acts are in force, new ones are refused."""
    with RemoteMX() as remote:
        flags = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path, *flags) as server:
            server.ask("act", verb="hold", select={"domain": "b.example"})
        (tmp_path / "state.db-shm").mkdir()
        with Server(tmp_path, *flags) as server:
            with pytest.raises(RuntimeError, match=r"state\.db"):
                server.ask("act", verb="release", select={"all": True})
            server.wait_said("operators' acts are refused until it can be written")
            server.send("held@b.example", "free@c.example")
            [record] = server.wait_records(1, "Delivery")
            assert record["recipient"] == "free@c.example"
            wait(lambda: server.ask("status")["alarms"], "there is no alarm")
            (tmp_path / "state.db-shm").rmdir()
            server.wait_said("state.db is written again")
            server.ask("act", verb="release", select={"all": True})
            server.wait_records(2, "Delivery")


def test_without_knowing_what_is_held_nothing_is_sent(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        flags = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path, *flags) as server:
            server.ask("act", verb="hold", select={"all": True})
            server.send("held@b.example")
        state, hidden = tmp_path / "state.db", tmp_path / "hidden"
        state.rename(hidden)
        state.mkdir()
        server = Server(tmp_path, *flags)
        server.launch()
        server.wait_said("no mail is sent before that can be read")
        assert not server.ask("status")["ready"]
        state.rmdir()
        hidden.rename(state)
        server.wait_said("ready, ", 2)
        server.send("new@b.example")
        assert [row["state"] for row in server.ask("queue.list")] == ["held", "held"]
        server.ask("act", verb="release", select={"all": True})
        server.wait_records(2, "Delivery")
        assert server.stop() == 0 and not server.surprises()
