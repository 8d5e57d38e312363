"""Clients that survive everything."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from mta.testing.ports import free_port
from tests.torture.injector import Injector

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_being_sent_after_a_batch(tmp_path: Path) -> None:
    with closing(Injector(free_port(), 1, tmp_path / "promises.jsonl")) as injector:
        assert injector.send(2, seconds=0.2) == 0
        assert not injector.running
