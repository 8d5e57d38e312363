from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from mta.errors import SpoolError
from mta.spool.ballast import COUNT, Ballast, is_full

if TYPE_CHECKING:
    from pathlib import Path

PART = 8192
OCTETS = COUNT * PART


def held(folder: Path) -> int:
    """Octets that a ballast has on the disk."""
    return sum(path.stat().st_blocks * 512 for path in (folder / "ballast").iterdir())


def test_made_and_given_up(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, OCTETS)
    told: list[int] = []
    ballast.on_given_up = lambda: told.append(1)
    assert (ballast.missing, ballast.give_up(), told) == (OCTETS, False, [])
    ballast.make()
    assert (ballast.missing, held(tmp_path)) == (0, OCTETS)
    again = Ballast(tmp_path, OCTETS)
    assert again.missing == 0
    assert ballast.give_up()
    assert (ballast.missing, held(tmp_path), told) == (OCTETS, 0, [1])
    assert ballast.given_up
    ballast.make()
    assert not ballast.given_up


def test_a_part_without_its_blocks_is_missing(tmp_path: Path) -> None:
    Ballast(tmp_path, OCTETS).make()
    os.truncate(tmp_path / "ballast" / "03", 0)
    (tmp_path / "ballast" / "05").unlink()
    ballast = Ballast(tmp_path, OCTETS)
    assert ballast.missing == 2 * PART
    ballast.make()
    assert (ballast.missing, held(tmp_path)) == (0, OCTETS)
    smaller = Ballast(tmp_path, OCTETS // 2)
    assert smaller.missing == 0
    larger = Ballast(tmp_path, OCTETS * 2)
    assert larger.missing == 2 * OCTETS


def test_what_is_there_of_one_that_could_not_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast, allocate, left = Ballast(tmp_path, OCTETS), os.posix_fallocate, [5]

    def some(file: int, at: int, size: int) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        allocate(file, at, size)

    monkeypatch.setattr(os, "posix_fallocate", some)
    with pytest.raises(OSError, match="No space left"):
        ballast.make()
    assert ballast.missing == 11 * PART
    assert len(list((tmp_path / "ballast").iterdir())) == 5
    assert ballast.give_up()


def test_none(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, 0)
    assert (ballast.missing, ballast.give_up()) == (0, False)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (SpoolError("x: IO error: No space left on device: While appending to file: y"), True),
        (SpoolError("x: IO error: Disk quota exceeded: z"), True),
        (SpoolError("x: Corruption: z"), False),
    ],
)
def test_what_a_full_disk_says(tmp_path: Path, error: Exception, full: bool) -> None:
    ballast = Ballast(tmp_path, OCTETS)
    ballast.make()
    assert is_full(error) == full
    assert ballast.relieve(error) == full
    assert not ballast.relieve(error)
