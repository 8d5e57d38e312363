"""What a configuration means for a worker's parts."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from mta.config.load import load
from mta.queues.manager import KEPT_BODIES
from mta.shaping.limits import UNLIMITED
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


@pytest.mark.parametrize(
    ("kept", "shards", "sizes"),
    [
        ("0", 8, (64_000_000, 0)),  # all
        ("20GB", 8, (64_000_000, 2_500_000_000)),
        ("100MB", 8, (3_125_000, 12_500_000)),  # not all at once with the first segment
        ("1MB", 8, (65_536, 125_000)),
        ("3B", 8, (65_536, 1)),
    ],
)
def test_a_shards_part_of_the_log(
    tmp_path: Path, kept: str, shards: int, sizes: tuple[int, int]
) -> None:
    config = load(None, [("log.retain_size", kept)], tmp_path)
    assert wiring.log_sizes(config, shards) == sizes


@pytest.mark.parametrize(
    ("disk", "shards", "part"),
    [(1 << 40, 2, 64), (8 << 30, 2, 64), (4 << 30, 4, 16), (120 << 20, 1, 1), (10 << 20, 8, 1)],
)
def test_segments_and_ballast_are_small_on_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: int, shards: int, part: int
) -> None:
    asked: list[Path] = []

    def statvfs(folder: Path) -> SimpleNamespace:
        asked.append(folder)
        return SimpleNamespace(f_blocks=disk // 4096, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    spool = tmp_path / "not" / "there"
    config = load(None, [("spool", str(spool))], tmp_path / "home")
    options = wiring.shard_options(config, shards)
    assert (options.ballast_bytes, options.segment_bytes) == (part << 20, part << 20)
    assert set(asked) == {tmp_path}


def test_a_site_without_a_limit_is_not_held_to_the_defaults() -> None:
    given = [
        ("limits.site.default.rate", "1/s"),
        ('limits.site."fast.example".rate', "none"),
        ('limits.site."fast.example".connections', "none"),
        ('limits.site."*.slow.example".connections', "5"),
        ('limits.site."mx.slow.example".rate', "3/s"),
    ]
    limits = wiring.limits(load(None, given))
    free, slow = limits.site(["mx.fast.example", "fast.example"]), limits.site(["mx.slow.example"])
    assert (free.connections, free.rate) == (UNLIMITED, None)
    assert (slow.connections, str(slow.rate)) == (5, "3/s, burst=1")
    assert limits.site(["other.example"]).connections == 20
