"""The log is ahead of the spool: what a kill between their two syncs leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path

from mta.testing.ports import free_port
from mta.testing.remote import Manners, RemoteMX
from tests.scenarios.server import Server

SOON = ("-o", 'retry.schedule=["1s"]', "-o", "retry.jitter=0")


def refuse(address: str) -> str | None:
    return "550 5.1.1 nobody" if address.startswith("unknown") else None


def test_recorded_outcomes_are_applied_and_the_dsn_is_made(tmp_path: Path) -> None:
    port, home, backup = free_port(), tmp_path / "home", tmp_path / "backup"
    server = Server(home, "--route", f"*=127.0.0.1:{port}", *SOON)
    with server:
        id = server.send("unknown@b.example", "good@b.example")
        server.wait_records(2, "TransientFailure")  # nobody listens yet
    shutil.copytree(home / "spool", backup)
    with RemoteMX(Manners(rcpt=refuse), port=port) as remote:
        with server:
            remote.wait(2)  # the good recipient's copy, and the DSN
            server.wait_records(2, "Delivery")
            server.wait_empty()
        shutil.rmtree(home / "spool")
        shutil.copytree(backup, home / "spool")
        with server:
            arrived = remote.wait(3)
            server.wait_empty()
    assert [got.recipients for got in arrived].count(["good@b.example"]) == 1
    last = arrived[2]
    assert (last.sender, last.recipients) == ("", ["sender@source.example"])
    assert b"unknown@b.example" in last.content
    assert b"Subject: scenario" in last.content  # the header came from the spool
    ended = [r for r in server.records("Delivery", "Bounce") if r["id"] == id]
    assert sorted((r["type"], r["recipient"]) for r in ended) == [
        ("Bounce", "unknown@b.example"), ("Delivery", "good@b.example"),
    ]  # fmt: skip
