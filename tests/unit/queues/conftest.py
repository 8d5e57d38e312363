from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.queues.desk import Desk


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have their turn wherever they may: the clock stands still, so it tells nothing."""
    monkeypatch.setattr("mta.queues.pace.TURN", 0.0)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def build(**settings: object) -> Desk:
        made.append(Desk(tmp_path / str(len(made)), **settings))
        return made[-1]

    yield build
    for desk in made:
        desk.close()


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    return make()
