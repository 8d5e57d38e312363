"""docs/rfc.md names tests that exist, and a state for each RFC."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "docs" / "rfc.md").read_text().splitlines()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")
]


@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: f"{row[0]} {row[1]}")
def test_row(row: list[str]) -> None:
    _, _, state, _, tests = row
    assert state in ("implemented", "partial", "not")
    named = [name.strip() for name in tests.split(",") if name]
    assert named or state == "not"
    for name in named:
        assert (ROOT / name).is_file(), name
