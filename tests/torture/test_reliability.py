"""docs/reliability.md is what the results say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.torture import damages
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


def test_the_table_of_damages_says_only_what_it_explains() -> None:
    for kind in damages.KINDS:
        assert len(kind.outcomes) == len(damages.DAMAGES), kind.name
        for outcome in kind.outcomes:
            word, *more = outcome.split(", ")
            assert word in damages.OUTCOMES
            assert set(more) <= set(damages.MORE.values())


def test_less_than_the_table_allows_for_may_be_lost() -> None:
    assert damages.fits("refused", "refused, some lost")
    assert damages.fits("refused, some lost", "refused, some bounced, some lost")
    assert not damages.fits("refused, some lost", "refused")
    assert not damages.fits("lost", "refused, some lost")


def test_a_kind_of_file_that_the_table_does_not_know(tmp_path: Path) -> None:
    for name in ("spool/shard-0000/CURRENT", "spool/shard-0000/NEWS", "spool/lock", "state.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert damages.unknown(tmp_path) == ["spool/shard-0000/NEWS"]
