"""`mta spool`, with a scripted server and with none."""

from __future__ import annotations

import shutil
from pathlib import Path

from mta.audit.losses import Loss, Losses
from mta.clock import SystemClock
from mta.maillog import LogWriter
from tests.unit.audit.bench import Filled, snapshot
from tests.unit.cli.conftest import Run, Server

ROW = {"shard": 1, "what": "it was cut", "recipients": 3, "compared": True}


def test_a_loss_is_accepted_by_the_server(run: Run, server: Server) -> None:
    server.answer("spool.accept", result={"accepted": [ROW], "pending": []})
    ran = run("spool", "accept-loss", "--reason", "disk died", "--home", server.home)
    assert server.requests[0]["op"] == "spool.accept"
    assert server.requests[0]["args"]["reason"] == "disk died"
    assert server.requests[0]["args"]["by"]
    assert ran.code == 0
    assert ran.out == "accepted: shard 1: it was cut; 3 recipients are recorded as Lost\n"


def test_a_loss_whose_extent_is_not_known_waits(run: Run, server: Server) -> None:
    server.answer("spool.accept", result={"accepted": [], "pending": ["shard 1 has lost mail"]})
    ran = run("spool", "accept-loss", "--home", server.home)
    assert (ran.code, ran.out) == (1, "not yet: shard 1 has lost mail\n")


def test_nothing_to_accept(run: Run, server: Server) -> None:
    server.answer("spool.accept", result={"accepted": [], "pending": []})
    ran = run("spool", "accept-loss", "--home", server.home)
    assert (ran.code, ran.out) == (0, "No loss to acknowledge\n")
    found = run("spool", "accept-loss", "--home", server.home, "--json").json
    assert found == {"accepted": [], "pending": []}


def test_a_server_that_refuses_is_not_gone_round(run: Run, server: Server) -> None:
    server.answer("spool.accept", error="worker 1 is not running")
    ran = run("spool", "accept-loss", "--home", server.home)
    assert ran.code == 1
    assert "worker 1 is not running" in ran.err


def test_a_loss_is_accepted_without_a_server(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "log" / "shard-0002"
    folder.mkdir(parents=True)
    Losses(folder).found(Loss(5, "it was cut", (1, 0), compared=True, recipients=3))
    ran = run("spool", "accept-loss", "--home", tmp_path, "--reason", "seen")
    assert (ran.code, ran.out.split(":")[1]) == (0, " shard 2")
    (loss,) = Losses(folder).all
    assert loss.reason == "seen"
    assert loss.accepted_us
    assert loss.accepted_by


def test_a_log_that_is_in_use_is_left_alone(run: Run, tmp_path: Path) -> None:
    """A server whose control socket is elsewhere."""
    folder = tmp_path / "log" / "shard-0002"
    writer = LogWriter(folder, clock=SystemClock())
    Losses(folder).found(Loss(5, "it was cut", (1, 0), compared=True))
    ran = run("spool", "accept-loss", "--home", tmp_path)
    assert ran.code == 1
    assert "is being written by another process" in ran.err
    assert Losses(folder).pending
    writer.close()


def test_a_whole_spool_is_fine(run: Run, tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    before = snapshot(tmp_path)
    ran = run("spool", "check", "--home", tmp_path)
    assert ran.code == 0
    assert f"{len(filled.open)} recipients" in ran.out
    assert "no problems found" in ran.out
    (report,) = run("spool", "check", "--home", tmp_path, "--json").json
    assert (report["shard"], report["counts"]) == (1, {})
    assert snapshot(tmp_path) == before


def test_a_spool_with_something_wrong(run: Run, tmp_path: Path) -> None:
    Filled(tmp_path).close()
    (tmp_path / "spool" / "shard-0001" / "CURRENT").unlink()
    ran = run("spool", "check", "--home", tmp_path, "--shard", "1")
    assert ran.code == 1
    assert "files: 1" in ran.out
    assert "CURRENT is missing" in ran.out


def test_a_spool_in_use_is_not_checked(run: Run, tmp_path: Path) -> None:
    filled = Filled(tmp_path)
    ran = run("spool", "check", "--home", tmp_path)
    assert ran.code == 1
    assert "in use by a running server" in ran.err
    filled.close()


def test_a_shard_that_is_not_there(run: Run, tmp_path: Path) -> None:
    Filled(tmp_path).close()
    ran = run("spool", "check", "--home", tmp_path, "--shard", "7")
    assert ran.code == 2
    assert "there is no shard 7: 1" in ran.err


def test_a_damaged_spool_is_repaired(run: Run, tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    (filled.folder / "CURRENT").unlink()
    ran = run("spool", "repair", "--home", tmp_path)
    assert ran.code == 2  # nobody can be asked
    assert "--yes" in ran.err
    assert not (filled.folder / "CURRENT").exists()
    ran = run("spool", "repair", "--home", tmp_path, "--yes")
    assert ran.code == 0
    assert f"shard 1: {len(filled.open)} recipients saved" in ran.out
    (kept,) = (tmp_path / "spool").glob("shard-0001.damaged-*")
    assert f"kept in {kept}" in ran.out
    assert run("spool", "check", "--home", tmp_path).code == 0
    ran = run("spool", "repair", "--home", tmp_path, "--yes")
    assert (ran.code, ran.out) == (0, "Nothing to repair\n")


def test_what_a_repair_cannot_save_is_named(run: Run, tmp_path: Path) -> None:
    filled = Filled(tmp_path, body=500).close()
    shutil.rmtree(filled.folder)
    ran = run("spool", "repair", "--home", tmp_path, "--yes")
    assert ran.code == 0
    assert f"{len(filled.open)} recipients could not be saved" in ran.out
    assert all(name in ran.out for name in filled.names())
    assert run("spool", "accept-loss", "--home", tmp_path).code == 0
    (report,) = run("spool", "check", "--home", tmp_path, "--json").json
    assert report["counts"] == {}


def test_a_repair_as_json(run: Run, tmp_path: Path) -> None:
    filled = Filled(tmp_path).close()
    assert run("spool", "repair", "--home", tmp_path, "--json", "--yes").json == []
    (filled.folder / "CURRENT").unlink()
    (done,) = run("spool", "repair", "--home", tmp_path, "--json", "--yes").json
    assert (done["shard"], done["recipients"], done["lost"]) == (1, len(filled.open), 0)
