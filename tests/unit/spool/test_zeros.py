from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from mta.spool import zeros
from mta.testing.clock import FakeClock
from mta.testing.spool import descriptors

if TYPE_CHECKING:
    from pathlib import Path

OCTETS = 3 * zeros.STEP + 5000  # the last step is no whole block


def test_a_file_of_zeros_in_steps(tmp_path: Path) -> None:
    clock, seen = FakeClock(), list[float]()
    clock_of = iter(range(100))
    clock.monotonic = lambda: float(next(clock_of))  # type: ignore[method-assign]
    took: list[float] = []

    def rest(done: float, seconds: float) -> None:
        seen.append(done)
        took.append(seconds)

    file = zeros.make(tmp_path / "one", OCTETS, rest, clock)
    assert os.pread(file, OCTETS + 1, 0) == bytes(OCTETS)
    assert os.fstat(file).st_blocks * 512 >= OCTETS
    assert seen == [zeros.STEP * n / OCTETS for n in (1, 2, 3)] + [1.0]
    assert took == [1.0] * 4
    os.close(file)


def test_a_quick_disk_gets_larger_steps_and_a_slow_one_smaller(tmp_path: Path) -> None:
    clock, seen = FakeClock(), list[int]()
    takes = [0.0, 0.0, 0.01, 0.0, 0.0, 0.03, 0.03, 0.03, 0.03, 0.03]
    octets = 64 * zeros.STEP
    times = [at for n, took in enumerate(takes * 9) for at in (float(n), n + took)]
    clock.monotonic = lambda: times.pop(0)  # type: ignore[method-assign]
    file = zeros.make(
        tmp_path / "one", octets, lambda done, _: seen.append(round(done * 64)), clock
    )
    steps = [after - before for before, after in zip([0, *seen], seen, strict=False)]
    assert steps[:11] == [1, 2, 4, 4, 8, 8, 4, 2, 1, 1, 1]
    assert os.pread(file, octets + 1, 0) == bytes(octets)
    os.close(file)


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fdatasync"])
def test_without_room_there_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        zeros.make(tmp_path / "one", OCTETS, lambda done, took: None, FakeClock())
    assert list(tmp_path.iterdir()) == []


def test_who_gives_up_in_a_pause_leaves_no_file(tmp_path: Path) -> None:
    def rest(done: float, took: float) -> None:
        raise KeyboardInterrupt

    before = descriptors()
    with pytest.raises(KeyboardInterrupt):
        zeros.make(tmp_path / "one", OCTETS, rest, FakeClock())
    assert list(tmp_path.iterdir()) == []
    assert descriptors() == before


def test_where_nothing_passes_the_page_cache_each_step_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(zeros, "_direct", lambda path: -1)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    file = zeros.make(tmp_path / "one", OCTETS, lambda done, took: None, FakeClock())
    assert os.pread(file, OCTETS + 1, 0) == bytes(OCTETS)
    assert synced == [file] * 4
    os.close(file)
