"""Waiting for an event. A bound only keeps a run from hanging for ever; it measures nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 180.0  # seconds that a machine may take, however slow and busy
STEP = 0.02  # seconds between two looks


def wait(true: Callable[[], object], what: str | Callable[[], object] = "") -> None:
    """Return once it is true; `what` is wrong otherwise, or tells when it is called."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(STEP)
