"""Short runs: each takes the whole way from promise to account."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.torture import cases
from tests.torture.cases import kill
from tests.torture.results import Plan

if TYPE_CHECKING:
    from pathlib import Path


def test_kills(folder: Path) -> None:
    [row] = kill.run(Plan(folder, rounds=3, seed=4))
    assert row.found == []
    assert row.recipients


@pytest.mark.parametrize("name", cases.names())
def test_every_run_can_be_run(name: str) -> None:
    case = cases.load(name)
    assert case.ABOUT
    assert case.ROUNDS
    assert callable(case.run)


def test_the_command_tells_what_there_is() -> None:
    command = [sys.executable, "-m", "tests.torture", "list"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in said.splitlines()] == cases.names()
