"""A message that ends its worker is set aside at the second crash; the rest is served."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server

POISON = "poison@source.example"


@pytest.mark.parametrize("place", ["send", "load"])
def test_a_poison_message_is_set_aside(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTA_TEST_ABORT_ON", f"{place}:{POISON}")
    with (
        RemoteMX() as remote,
        Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", workers=2) as server,
    ):
        if place == "load":  # what is held is loaded when it is released
            server.ask("act", verb="hold", select={"sender": POISON})
        id = server.send("a@b.example", "c@d.example", sender=POISON)
        if place == "load":
            server.ask("act", verb="release", select={"sender": POISON})
        removed = server.wait_records(2, "Removed")
        assert {(r["id"], r["recipient"]) for r in removed} == {
            (id, "a@b.example"), (id, "c@d.example"),
        }  # fmt: skip
        assert all("in hand at 2 crashes" in record["reason"] for record in removed)
        server.wait_said("is set aside in")
        assert server.said().count(f"had message {id} in hand when it crashed") == 2
        facts = json.loads((tmp_path / "corrupt" / f"{id}.json").read_text())
        assert facts["sender"] == POISON and len(facts["recipients"]) == 2
        assert b"hello" in (tmp_path / "corrupt" / f"{id}.eml").read_bytes()
        others = [server.send(f"r{n}@b.example") for n in range(6)]
        delivered = server.wait_records(6, "Delivery")
        assert {record["id"] for record in delivered} == set(others)
        server.wait_empty()


def test_a_kill_from_outside_blames_nobody(tmp_path: Path) -> None:
    with RemoteMX() as remote, Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}") as server:
        for _ in range(2):
            (worker,) = server.status()["workers"]
            os.kill(worker["pid"], signal.SIGKILL)
            server.send("a@b.example")
        server.wait_records(2, "Delivery")
        assert "in hand" not in server.said()


def test_an_idle_worker_that_aborts_has_nothing_in_hand(tmp_path: Path) -> None:
    with RemoteMX() as remote, Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}") as server:
        server.send("a@b.example")
        server.wait_records(1, "Delivery")
        (worker,) = server.status()["workers"]
        os.kill(worker["pid"], signal.SIGABRT)
        server.send("b@b.example")
        server.wait_records(2, "Delivery")
        assert "ended (signal 6)" in server.said() and "in hand" not in server.said()
