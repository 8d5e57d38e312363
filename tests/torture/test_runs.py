"""Short runs: each takes the whole way from promise to account."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.peers import require
from tests.torture import __main__ as command
from tests.torture import cases, disks, volumes
from tests.torture import points as marks
from tests.torture.cases import (
    calls,
    clocks,
    damage,
    fulldisk,
    kill,
    overload,
    points,
    powercut,
    receivers,
    scarce,
    strangers,
)
from tests.torture.interpose import compiler
from tests.torture.results import Plan

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

needs_gcc = pytest.mark.skipif(compiler() is None, reason="gcc is not installed")


def test_kills(folder: Path) -> None:
    [row] = kill.run(Plan(folder, rounds=3, seed=4))
    assert row.found == []
    assert row.recipients


def test_deaths_at_points(folder: Path) -> None:
    [row] = points.run(Plan(folder, rounds=5, seed=11))
    assert row.found == []
    assert row.recipients and row.rounds


def test_points_are_comments_but_in_their_own_build() -> None:
    names = marks.names(points.ROOT)
    assert len(names) == len(set(names)) > 15
    assert set(names) >= points.STARTING | points.REPLACING | points.OF_SUPERVISOR
    code = "".join(path.read_text() for path in (points.ROOT / "mta").rglob("*.py"))
    assert marks.VARIABLE not in code and "tests.torture" not in code


@needs_gcc
def test_power_cuts(folder: Path) -> None:
    rows = powercut.run(Plan(folder, rounds=14, seed=2))
    assert [text for row in rows for text in row.found] == []
    assert all(row.recipients for row in rows)
    assert rows[-1].lost  # the control


@needs_gcc
@pytest.mark.parametrize("kind", volumes.MAKE)
def test_power_cuts_on_a_real_file_system(folder: Path, kind: str) -> None:
    if reason := volumes.missing(kind):
        pytest.skip(f"{kind}: {reason}")
    rows = powercut.run(Plan(folder, rounds=2, seed=2, options={"fs": kind}))
    assert [text for row in rows for text in row.found] == []
    assert rows[-1].lost  # the control


def test_a_file_system_that_cannot_be_had_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    for kind, reason in (("ext4", "is not installed|is not allowed here"), ("ext9", "is none of")):
        assert command.main(["powercut", "--fs", kind, "--results", str(folder)]) == 2
        assert re.search(reason, capsys.readouterr().out)
        with pytest.raises(AssertionError, match=reason):
            powercut.run(Plan(folder, rounds=1, seed=1, options={"fs": kind}))
    assert command.main(["kill", "--fs", "ext4", "--results", str(folder)]) == 2
    assert "an option of powercut alone" in capsys.readouterr().out
    assert list(folder.iterdir()) == []


@needs_gcc
def test_file_calls_that_fail(folder: Path) -> None:
    rows = calls.run(Plan(folder, rounds=10, seed=2))
    assert [text for row in rows for text in row.found] == []
    assert sum(row.rounds for row in rows) == 10


@needs_gcc
def test_clocks(folder: Path) -> None:
    [row] = clocks.run(Plan(folder, rounds=3, seed=304))
    assert row.found == []
    assert row.recipients


@pytest.mark.parametrize("kind", fulldisk.KINDS)
def test_full_disks(folder: Path, kind: str) -> None:
    if reason := disks.lacking():
        pytest.skip(reason)
    [row] = fulldisk.run(Plan(folder, rounds=1, seed=5, options={"kind": kind}))
    assert row.found == []
    assert row.recipients


@pytest.mark.parametrize(
    ("case", "options"),
    [
        (scarce, {"kind": "descriptors"}),
        (scarce, {"kind": "memory", "messages": "100"}),
        (receivers, {"kind": "stall", "span": "4"}),
        (overload, {"minutes": "0.1"}),
    ],
    ids=["descriptors", "memory", "stall", "overload"],
)
def test_little_of_what_it_needs(folder: Path, case: ModuleType, options: dict[str, str]) -> None:
    [row] = case.run(Plan(folder, rounds=1, seed=6, options=options))
    assert row.found == []
    assert row.recipients


def test_strangers(folder: Path) -> None:
    """How long replies take is for the long run, on a machine that does nothing else."""
    options = {"share": "0.02", "span": "4"}
    [row] = strangers.run(Plan(folder, rounds=1, seed=8, options=options))
    assert [problem for problem in row.found if not problem.startswith("slow")] == []


@pytest.mark.peer
def test_dead_destinations(folder: Path) -> None:
    require("nsd")
    options = {"kind": "dead", "dead": "300", "span": "3"}
    [row] = receivers.run(Plan(folder, rounds=1, seed=7, options=options))
    assert [problem for problem in row.found if not problem.startswith("slow")] == []


@pytest.mark.parametrize("name", cases.names())
def test_every_run_can_be_run(name: str) -> None:
    case = cases.load(name)
    assert case.ABOUT
    assert case.ROUNDS
    assert callable(case.run)


def test_the_command_tells_what_there_is() -> None:
    listing = [sys.executable, "-m", "tests.torture", "list"]
    said = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in said.splitlines()] == cases.names()


def test_damaged_files(folder: Path) -> None:
    rows = damage.run(Plan(folder, rounds=3, seed=3))
    assert [text for row in rows for text in row.found] == []
    assert sum(row.rounds for row in rows) == 3
