"""What the supervisor answers when a worker does not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mta.config.schema import Config
from mta.supervisor import questions


class Silent:
    """The channel of a worker that hangs."""

    async def request(self, *asked: Any) -> None:
        await asyncio.Event().wait()


def test_a_worker_that_hangs_is_a_line_of_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "STATUS_PATIENCE", 0)
    master: Any = SimpleNamespace(config=Config(), workers=[SimpleNamespace(channel=Silent())])
    found = asyncio.run(questions.Questions(master)._worker_status(0))
    assert found == {"number": 0, "problem": "worker 0: no answer"}
