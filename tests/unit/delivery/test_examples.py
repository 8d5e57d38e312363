"""The examples of docs/design.md, "Where a feature goes", are members that work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mta.model import Kind, Outcome
from tests.unit.delivery.test_decisions import Rig, rig

__all__ = ["rig"]

DESIGN = Path(__file__).parents[3] / "docs" / "design.md"


@pytest.fixture
def examples() -> dict[str, Any]:
    """What the examples define."""
    section = DESIGN.read_text().split("### Where a feature goes")[1].split("\n### ")[0]
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(block, found)  # noqa: S102 - our own text
        assert len(block.splitlines()) <= 30
    return found


def test_hours(rig: Rig, examples: dict[str, Any]) -> None:
    clock = rig.desk.clock
    clock.advance(1800)
    hour, past = divmod(clock.wall_us() // 1_000_000 % 86_400, 3600)
    allowed = {"night": range((hour + 1) % 24, (hour + 1) % 24 + 1)}
    rig.use(examples["Hours"](allowed, clock))
    rig.desk.accept("x@b.example", tenant="night")
    rig.desk.accept("y@b.example", tenant="other")
    line = rig.line()
    attempt = line.take()
    assert attempt is not None and attempt.message.tenant == "other"
    assert line.take() is None
    clock.advance(3600 - past)
    clock.look()
    rig.loop.advance(3600 - past)
    attempt = line.take()
    assert attempt is not None and attempt.message.tenant == "night"


def test_feedback_id(rig: Rig, examples: dict[str, Any]) -> None:
    rig.use(examples["FeedbackId"]())
    rig.desk.accept("x@b.example", tenant="acme", campaign="news")
    attempt = rig.line().take()
    assert attempt is not None
    assert attempt.body.startswith(b"Feedback-ID: news:acme:mailrace\r\n")


def test_full_mailboxes(rig: Rig, examples: dict[str, Any]) -> None:
    rig.use(examples["FullMailboxes"]())
    line = rig.line()
    for enhanced in ("5.2.2", "5.1.1"):
        rig.desk.accept("x@b.example")
        line.end(line.take(), Outcome(Kind.BOUNCED, 550, enhanced, "no", "RCPT"))
    assert rig.desk.ends() == {"Bounce": 1}
