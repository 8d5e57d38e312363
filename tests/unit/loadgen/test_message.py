"""A number gives one message, whoever composes it; sizes and weights come out as asked."""

from __future__ import annotations

from collections import Counter
from email import message_from_bytes
from pathlib import Path

import pytest

from mta.loadgen.ledger import read_content
from mta.loadgen.message import Composer, Load


def load(**changes: object) -> Load:
    return Load(**{"server": "127.0.0.1:25", "recipients": {"u{n}@a.example": 1.0}, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 300, 301, 1024, 10_240, 100_001])
def test_content(size: int) -> None:
    content = Composer(load(size=size)).content(42, "u42@a.example")
    assert size - 1 <= len(content) or size < 300
    assert len(content) <= max(size, 300)
    assert content.endswith(b"\r\n")
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")
    assert b"\n." not in content
    parsed = message_from_bytes(content)
    assert parsed["X-Load-Id"] == "42"
    assert parsed["To"] == "<u42@a.example>"
    assert read_content("load@source.example", content).number == 42


def test_weights() -> None:
    composer = Composer(load(recipients={"a{n}@x": 3.0, "b{n}@x": 1.0, "c{n}@x": 0.4}))
    counts = Counter(composer.recipient(n)[0] for n in range(4400))
    assert abs(counts["a"] - 3000) < 10
    assert abs(counts["b"] - 1000) < 10
    assert abs(counts["c"] - 400) < 10


def test_processes_share_numbers_and_recipients() -> None:
    whole = load(messages=101, first=5, sessions=3)
    parts = [whole.share(index, 4) for index in range(4)]
    numbers = sorted(
        n for p in parts for n in range(p.first, p.first + p.messages * p.step, p.step)
    )
    assert numbers == list(range(5, 106))
    assert all(part.sessions >= 1 for part in parts)
    assert Composer(parts[1]).recipient(50) == Composer(whole).recipient(50)


def test_files_are_sent_in_turn_behind_the_number(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"Subject: a\n\n.hidden\n")
    (tmp_path / "b").write_bytes(b"Subject: b\r\n\r\nno end")
    files = [str(tmp_path / name) for name in "ab"]
    composer = Composer(Load(server="x:1", recipients={"u@x": 1}, bodies=files))
    assert composer.content(4, "u@x") == b"X-Load-Id: 4\r\nSubject: a\r\n\r\n..hidden\r\n"
    assert composer.content(5, "u@x") == b"X-Load-Id: 5\r\nSubject: b\r\n\r\nno end\r\n"


def test_names_begin_again() -> None:
    composer = Composer(load(names=3))
    assert [composer.recipient(n) for n in range(5)] == [f"u{n}@a.example" for n in (0, 1, 2, 0, 1)]
