"""Operators' acts on a real server with two workers: by the command line, over restarts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mta.testing.ports import free_port
from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server
from tests.unit.cli.conftest import dns_server
from tests.waiting import PATIENCE, wait


def queue(server: Server, *words: str, code: int = 0) -> Any:
    """`mta queue ... --json` without a terminal; its answer."""
    command = [sys.executable, "-m", "mta.cli.main", "queue", *words, "--json"]
    done = subprocess.run(
        [*command, "--home", str(server.home)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    if words[0] == "acts":
        return [json.loads(line) for line in done.stdout.splitlines()]
    return json.loads(done.stdout) if done.stdout else done.stderr


def states(server: Server) -> dict[str, str]:
    return {row["recipient"]: row["state"] for row in server.ask("queue.list", limit=1000)}


def test_holds_that_meet(tmp_path: Path) -> None:
    """What two holds cover leaves when both are released, through a kill and both workers."""
    with RemoteMX() as remote:
        server = Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", workers=2)
        with server:
            tenant = queue(server, "hold", "--sender", "s@a.example")
            domain = queue(server, "hold", "--domain", "b.example")
            for number in range(6):
                server.send(f"both{number}@b.example", sender="s@a.example")
                server.send(f"domain{number}@b.example", sender="o@a.example")
            wait(lambda: len(states(server)) == 12)
            assert set(states(server).values()) == {"held"}
            released = queue(server, "release", "--domain", "B.example")
            assert released["released"] == [domain["act"]] and released["touched"] == 6
            remote.wait(6)
            server.kill()
            server.start()
            server.send("late@b.example", sender="s@a.example")
            wait(lambda: len(states(server)) == 7)
            held = states(server)
            assert set(held.values()) == {"held"}
            assert all(address.startswith(("both", "late")) for address in held)
            queue(server, "release", "--domain", "b.example", code=1)  # no hold has that
            assert queue(server, "release", str(tenant["act"]))["touched"] == 7
            remote.wait(13)
            server.wait_empty()


def test_acts_that_destroy(tmp_path: Path) -> None:
    with Server(tmp_path, "--route", f"*=127.0.0.1:{free_port()}", workers=2) as server:
        for number in range(5):
            server.send(f"r{number}@b.example")
        wait(lambda: len(states(server)) == 5)
        assert "--yes" in queue(server, "delete", "--domain", "*", code=2)
        assert queue(server, "delete", "--domain", "*", "--dry-run") == {"recipients": 5}
        assert len(states(server)) == 5
        assert queue(server, "delete", "--domain", "c.example", "--yes", code=1)["touched"] == 0
        unknown = "01" * 16
        with pytest.raises(RuntimeError, match=f"{unknown} is not queued"):
            server.ask("act", verb="hold", select={"id": unknown})
        deleted = queue(server, "delete", "--recipient", "r[01]@*", "--yes", "--reason", "why")
        assert deleted["ended"] and deleted["touched"] == 2
        assert queue(server, "bounce", "--all", "--yes")["touched"] == 3
        queue(server, "flush", "--domain", "b.example", code=1)  # there may be DSNs
        acts = queue(server, "acts")
        assert [(act["verb"], act.get("touched", 0), act["state"]) for act in acts] == [
            ("delete", 0, "done"), ("delete", 2, "done"), ("bounce", 3, "done"),
            ("flush", 0, "done"),
        ]  # fmt: skip
        records = server.wait_records(4, "Act")
        found = [record for record in records if record["act"] == deleted["act"]]
        assert len(records) == 4 and len(found) == 1
        assert found[0]["verb"] == "delete" and found[0]["select"] == "recipient=r[01]@*"
        assert found[0]["touched"] == 2 and found[0]["reason"] == "why" and found[0]["by"]
        assert found[0]["time"] >= found[0]["begun"] > 0


def test_a_site_is_known_when_dns_is_gone(tmp_path: Path) -> None:
    """A restart, and a name server that answers no more: what waits is still shown at its site."""
    zone = {
        ("b.example", "MX"): ["10 mx.b.example."],
        ("mx.b.example", "A"): ["127.0.0.1"],
    }
    config = tmp_path / "config.toml"
    with dns_server(zone) as address:
        route = f'[[route]]\nnext_hop = ["mx"]\nport = {free_port()}\n'
        config.write_text(
            f'{route}[dns]\nnameservers = ["{address}"]\n[retry]\nschedule = ["1h"]\n'
        )
        server = Server(tmp_path, "--config", str(config), workers=2)
        server.start()
        server.send("r@b.example")
        server.wait_records(1, "TransientFailure")
        assert [row["name"] for row in server.ask("queue.top", by="site")] == ["mx.b.example"]
        assert server.stop() == 0
    with server:
        wait(lambda: server.ask("queue.top", by="site"))
        [row] = server.ask("queue.top", by="site")
        assert (row["name"], row["deferred"], row["held"]) == ("mx.b.example", 1, 0)
        assert queue(server, "hold", "--site", "mx.b.example")["touched"] == 1
        rows = server.ask("queue.list", select={"site": "mx.b.example"})
        assert [row["state"] for row in rows] == ["held"]
        server.kill()
        server.start()
        [row] = server.ask("queue.top", by="site")
        assert (row["name"], row["deferred"], row["held"]) == ("mx.b.example", 0, 1)
