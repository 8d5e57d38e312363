"""Mail that could be sent and is not is told; what is held up for a reason is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mta.delivery.stuck import AFTER, StuckPools


def make(**pool: Any) -> tuple[Any, Any]:
    """A dispatcher with one pool, and its loop."""
    loop = SimpleNamespace(now=1000.0)
    loop.time = lambda: loop.now
    ready = SimpleNamespace(name="b.example")
    fields = {
        "ready": ready, "in_flight": 0, "dialling": 0, "reading": 0, "paced": None, "waits": False,
        "rested_until": 0.0, "moved_at": 0.0, "prepared": None, "waiting": lambda: True,
        "count": lambda: 3,
    }  # fmt: skip

    class Pool(SimpleNamespace):
        __hash__ = object.__hash__  # type: ignore[assignment]

    settings = SimpleNamespace(body_memory=100)
    manager = SimpleNamespace(body_bytes=0, settings=settings)
    clock = SimpleNamespace(monotonic=lambda: loop.now)
    dispatcher = SimpleNamespace(
        loop=loop, pools={Pool(**(fields | pool))}, draining=False, manager=manager, clock=clock
    )
    return dispatcher, loop


def found(dispatcher: Any, loop: Any) -> list[str]:
    check = StuckPools(dispatcher)
    assert list(check()) == []
    loop.now += AFTER
    return [f"{trouble.alarm} {trouble.count}" for trouble in check()]


def test_ready_and_not_sent() -> None:
    assert found(*make()) == ["not_sent 3"]


@pytest.mark.parametrize(
    "pool",
    [
        {"in_flight": 1}, {"dialling": 1}, {"reading": 1}, {"paced": object()}, {"waits": True},
        {"rested_until": 1e9}, {"moved_at": 1050.0},
        {"waiting": lambda: False}, {"prepared": SimpleNamespace(working=1)},
    ],
    ids=lambda pool: next(iter(pool)),
)  # fmt: skip
def test_a_reason_to_wait_is_no_alarm(pool: dict[str, Any]) -> None:
    assert found(*make(**pool)) == []


def test_short_memory_and_a_drain_are_none() -> None:
    dispatcher, loop = make()
    dispatcher.manager.body_bytes = 80
    assert found(dispatcher, loop) == []
    dispatcher, loop = make()
    dispatcher.draining = True
    assert found(dispatcher, loop) == []
