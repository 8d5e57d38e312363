"""A server that is killed under load, whose spool then loses something, and starts again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mta.spool import wal
from mta.testing.ports import free_port
from tests.scenarios.server import Server
from tests.waiting import wait

NOWHERE = "127.0.0.1:1"  # nothing listens: all mail waits for its next attempt
TERMINAL = ("Delivery", "Bounce", "Expiration", "AdminBounce", "Removed", "Lost")


def probe(port: int) -> tuple[int, str]:
    """What /readyz says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def mta(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mta.cli.main", *arguments, "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def shard_of(home: Path) -> Path:
    """The shard that has most in its log."""
    return max((home / "spool").glob("shard-*"), key=lambda path: log_in(path).stat().st_size)


def log_in(shard: Path) -> Path:
    return wal.files(shard)[-1].path


def halve(home: Path) -> None:
    path = log_in(shard_of(home))
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "halved": halve,
    "gone": lambda home: log_in(shard_of(home)).unlink(),
    "folder": lambda home: shutil.rmtree(shard_of(home)),
    "spool": lambda home: shutil.rmtree(home / "spool"),
}


def filled(home: Path, port: int) -> tuple[Server, list[str]]:
    """A server that was killed after it had promised forty messages."""
    server = Server(home, "--route", f"*={NOWHERE}", "-o", f"http.listen=127.0.0.1:{port}")
    server.start()
    ids = [server.send(f"{number}@x.example") for number in range(40)]
    wait(lambda: len(server.records("Reception")) == len(ids))
    assert probe(port)[0] == 200
    server.kill()
    return server, ids


def accounted(server: Server, ids: list[str]) -> Counter[str]:
    """How often each message has an end, or is queued."""
    ends = Counter(record["id"] for record in server.records(*TERMINAL))
    ends.update(row["id"] for row in server.ask("queue.list", limit=1000))
    assert set(ends) <= set(ids)
    return ends


@pytest.mark.parametrize("name", DAMAGE)
def test_a_loss_is_told_recorded_and_accepted(tmp_path: Path, name: str) -> None:
    port = free_port()
    server, ids = filled(tmp_path, port)
    DAMAGE[name](tmp_path)
    with server:
        wait(lambda: "recorded as Lost" in probe(port)[1])
        code, text = probe(port)
        assert code == 503
        assert "has lost mail" in text
        wait(lambda: accounted(server, ids) == Counter(ids))
        assert server.records("Lost")
        wait(lambda: "alarm lost_mail" in server.said())
        assert server.send("new@x.example")  # mail is taken all the same
        server.kill()
        server.start()
        assert probe(port)[0] == 503  # a restart hides nothing
        ran = mta(tmp_path, "spool", "accept-loss", "--reason", "the disk died")
        assert ran.returncode == 0, ran.stderr
        assert "recorded as Lost" in ran.stdout
        wait(lambda: probe(port)[0] == 200)
        server.kill()
        server.start()
        assert probe(port)[0] == 200


def test_zeros_behind_what_was_promised_stop_nobody(tmp_path: Path) -> None:
    port = free_port()
    server, ids = filled(tmp_path, port)
    path = log_in(shard_of(tmp_path))
    os.truncate(path, path.stat().st_size + 100_000)
    with server:
        assert probe(port)[0] == 200
        assert accounted(server, ids) == Counter(ids)
        assert not server.records("Lost")
        assert "never acknowledged are cut off" in server.said()


def test_a_refused_shard_is_repaired_while_the_server_runs(tmp_path: Path) -> None:
    port = free_port()
    server, ids = filled(tmp_path, port)
    (shard_of(tmp_path) / "CURRENT").unlink()
    server.launch()
    try:
        wait(lambda: "CURRENT is missing" in server.said())
        assert "`mta spool repair --shard 0`" in server.said()
        ran = mta(tmp_path, "spool", "check")
        assert ran.returncode == 1
        assert "CURRENT is missing" in ran.stdout
        ran = mta(tmp_path, "spool", "repair", "--yes")
        assert ran.returncode == 0, ran.stderr
        assert "40 recipients saved" in ran.stdout
        wait(lambda: probe(port)[0] == 200)  # it is tried again without being told
        wait(lambda: accounted(server, ids) == Counter(ids))
        assert not server.records("Lost")
    finally:
        server.stop()
