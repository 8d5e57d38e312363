"""docs/reliability.md is what the results say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.torture.results import Row, read, write
from tools.reliability import PATH, document

if TYPE_CHECKING:
    from pathlib import Path


def test_the_document_is_up_to_date() -> None:
    assert PATH.read_text() == document(read()), "`make docs` brings it up to date"


def test_a_run_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    write(tmp_path, "kill", "python -m tests.torture kill --rounds 2", [Row("old", 2)])
    row = Row("a fault", 1000, 12_000, 1, 20, 3, 1.234, 700.0, ["problem"] * 30)
    write(tmp_path, "kill", "python -m tests.torture kill --rounds 1000", [row])
    [stored] = read(tmp_path)
    assert len(stored["found"]) == 20
    text = document([stored])
    assert "| a fault | 1,000 | 12,000 | 1 | 20 | 3 | 1.2 s |" in text
    assert "    python -m tests.torture kill --rounds 1000\n" in text
    assert "12 minutes" in text
