"""docs/rfc.md: a row for each RFC that the code cites, a state, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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


def test_every_rfc_that_the_code_cites_has_a_row() -> None:
    files = [p for p in (ROOT / "mta").rglob("*") if p.suffix in (".py", ".pyx", ".pxd", ".pyi")]
    cited = {n for p in files for n in re.findall(r"\bRFC ?(\d{3,5})", p.read_text("utf-8"))}
    assert len(cited) > 40
    assert not cited - {row[0].split()[0] for row in ROWS}
