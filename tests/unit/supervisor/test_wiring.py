"""What a configuration means for a worker's parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mta.config.load import load
from mta.queues.manager import KEPT_BODIES
from mta.supervisor import wiring


@pytest.mark.parametrize(
    ("budget", "largest", "kept"),
    [
        ("256MB", "50MB", 156e6),
        ("50MB", "10MB", 30e6),
        ("100kB", "40kB", 20e3),
        ("100kB", "60kB", 18.75e3),  # too little for two: three quarters of a quarter
        ("100MB", "1MB", 75e6),
    ],
)
def test_beside_the_contents_that_are_kept_two_largest_messages_find_room(
    tmp_path: Path, budget: str, largest: str, kept: float
) -> None:
    sizes = [("queue.body_memory", budget), ("smtpd.max_size", largest)]
    config = load(None, sizes, tmp_path)
    assert wiring.kept_bodies(config) * KEPT_BODIES == pytest.approx(kept, abs=1)
