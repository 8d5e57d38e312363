"""Folders of torture tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.torture.rig import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder() -> Iterator[Path]:
    """Gone afterwards; in memory where there is room."""
    with scratch("mta-test-torture-") as path:
        yield path
