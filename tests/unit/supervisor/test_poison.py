"""A message that ended its worker twice is set aside, if what it holds can be copied."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mta.model import Message, Recipient
from mta.queues import ends
from mta.spool import Gone, Unreadable
from mta.supervisor import poison

if TYPE_CHECKING:
    from pathlib import Path

MESSAGE = Message(b"m" * 16, "s@x")
TEXT = MESSAGE.id.hex()


@pytest.mark.parametrize(
    ("crashes", "first", "second", "done"),
    [
        (2, b"content", None, True),
        (2, Unreadable("EIO"), None, False),
        (2, Gone("hash"), Gone("hash"), True),
        (2, Gone("hash"), b"content", False),
        (2, Gone("hash"), Unreadable("EIO"), False),
        (poison.NO_COPY, Unreadable("EIO"), None, True),
    ],
)
def test_what_cannot_be_read_stays_queued(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    crashes: int,
    first: Any,
    second: Any,
    done: bool,
) -> None:
    removed: list[Recipient] = []
    shard = SimpleNamespace(
        recipients=lambda id: [Recipient(MESSAGE, 0, "a@y")],
        body=lambda message, anew=False: second if anew else first,
    )
    monkeypatch.setattr(ends, "remove", lambda manager, one, why: removed.append(one))
    manager: Any = SimpleNamespace(shards={0: shard})
    found = poison.set_aside(manager, tmp_path, {TEXT: crashes})
    assert found == (([TEXT], []) if done else ([], [TEXT]))
    assert len(removed) == done
    assert (tmp_path / f"{TEXT}.eml").exists() == (first == b"content")
