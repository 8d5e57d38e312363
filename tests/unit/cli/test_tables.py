"""Tables for people: what fits, what is cut, and how values are written."""

from __future__ import annotations

import time

import pytest

from mta.cli import common, people, tables
from mta.cli.tables import Column

ID = "0190b5a4c1d27000800012345678abcd"
ROWS = [
    {
        "id": ID, "recipient": "a.rather.long.recipient.address@subdomain.example.com",
        "state": "due", "site": "mx.example.com", "tenant": "acme", "campaign": "spring-sale-2026",
        "attempts": 3, "due": 1_767_225_600_000_000, "code": 451, "enhanced": "4.7.1",
        "text": "Greylisted, please try again in five minutes, see https://example.com/help",
    }
] * 3  # fmt: skip
NAMES = list(ROWS[0])


def shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, wide: bool
) -> list[str]:
    monkeypatch.setattr(tables, "screen", lambda: columns)
    common.print_table(ROWS, NAMES, first=("id", "recipient", "state", "due"), wide=wide)
    return capsys.readouterr().out.splitlines()


def test_a_table_fits_its_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shown(capsys, monkeypatch, 80, False)
    assert max(map(len, found[:-1])) <= 80
    assert len(found) == 2 + len(ROWS) + 1
    assert all(line.startswith(ID + "  a.rather") for line in found[2:-1])  # whole, in one line
    assert "…" in found[2] and "ample.com  due  " in found[2]  # cut in the middle
    assert found[-1].startswith("(not shown: ") and found[-1].endswith("--wide shows all)")


@pytest.mark.parametrize(("columns", "wide"), [(80, True), (0, False)])
def test_wide_tables_and_pipes_have_it_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, wide: bool
) -> None:
    found = shown(capsys, monkeypatch, columns, wide)
    assert str(ROWS[0]["text"]) in found[2] and "…" not in found[2]
    assert "not shown" not in found[-1]


def test_many_rows_take_moments(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.process_time()
    common.print_table(ROWS * 13_000, NAMES)
    assert time.process_time() - began < 10  # seconds of CPU for 39,000 rows, on any machine
    assert len(capsys.readouterr().out.splitlines()) == 39_002


def test_columns_take_their_places() -> None:
    columns = [Column("a", "a", ["x" * 30]), Column("n", "n", ["123456"], True)]
    assert tables.fitted(columns, 0) == {"a": 30, "n": 6}
    assert tables.fitted(columns, 30) == {"a": 22, "n": 6}
    assert tables.fitted(columns, 25) == {"a": 25}
    assert tables.fitted(columns, 25, ("n",)) == {"n": 6}
    assert tables.fitted(columns, 5) == {"a": 20}  # one there always is


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [("abcdefgh", 8, "abcdefgh"), ("abcdefgh", 5, "ab…gh"), ("abcdefgh", 4, "ab…h"),
     ("漢字漢字漢字", 7, "漢…漢字")],
)  # fmt: skip
def test_cut(text: str, wanted: int, found: str) -> None:
    assert tables.cut(text, wanted) == found
    assert tables.width(found) <= wanted


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("size", 512, "512 B"), ("size", 79_700_000_000, "79.7 GB"), ("size", 999_999, "1.0 MB"),
        ("spool_free", 5e15, "5000.0 TB"), ("uptime", 0.25, "0.2 s"), ("uptime", 59, "59 s"),
        ("uptime", 754.5, "12 m"), ("uptime", 11_100, "3 h 5 m"), ("uptime", 187_200, "2 d 4 h"),
        ("uptime", 86_400 * 20 + 7200, "20 d"), ("uptime", 36_300, "10 h"),
        ("attempts", 1234, "1,234"), ("code", 1234, "1234"), ("ratio", 0.1234567, "0.123457"),
        ("due", 3, "3"), ("ready", True, "yes"), ("x", None, ""), ("x", ["a", 2], "a, 2"),
        ("time", 1_767_225_600_123_456, "2026-01-01 00:00:00.123Z"),
    ],
)  # fmt: skip
def test_values(name: str, value: object, found: str) -> None:
    assert people.cell(name, value) == found


@pytest.mark.parametrize(
    ("seconds", "found"), [(0.2, "now"), (720, "in 12 m"), (-3600, "1 h ago"), (-5, "5 s ago")]
)
def test_from_now(seconds: float, found: str) -> None:
    at = 1_800_000_000.0
    assert people.from_now(round((at + seconds) * 1e6), lambda: at) == found
