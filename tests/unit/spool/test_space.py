from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from mta.spool import ShardOptions
from mta.spool.space import FILES, ROWS, STATE, Space, Uses
from mta.testing.clock import FakeClock

MB = 1 << 20
ELSEWHERE = Path("/proc")  # on no disk of ours


class Disks:
    """What `statvfs` says, by folder."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.other = 1 << 40  # free elsewhere
        self.files, self.all_files = 10_000, 20_000
        self.error: OSError | None = None
        self.looks = 0

    def __call__(self, folder: Path) -> os.statvfs_result:
        self.looks += 1
        if self.error is not None:
            raise self.error
        free = self.other if folder == ELSEWHERE else self.free
        found = SimpleNamespace(
            f_bavail=free // 4096, f_frsize=4096, f_favail=self.files, f_files=self.all_files
        )
        return cast("os.statvfs_result", found)


class Case:
    """A Space with everything around it in reach."""

    def __init__(self, folder: Path, free: int, **options: object) -> None:
        self.clock, self.disks, self.uses = FakeClock(), Disks(free), Uses(0, 0)
        self.folder = folder
        self.space = Space(
            folder,
            ShardOptions(**{"min_free_bytes": 100 * MB, **options}),  # type: ignore[arg-type]
            lambda: self.uses,
            self.clock,
            self.disks,
        )

    def said(self) -> str | None:
        """The problem, a second later."""
        self.clock.advance(1.1)
        return self.space.problem()


def test_what_is_kept_and_what_is_spoken_for(tmp_path: Path) -> None:
    case = Case(tmp_path, 160 * MB)
    assert case.said() is None
    case.uses = Uses(spool=50 * MB, log=10 * MB)
    assert case.said() is None
    assert case.space.left == 0
    assert not case.space.short
    case.uses = Uses(spool=51 * MB, log=10 * MB)
    assert case.said() == (
        f"{tmp_path}: 160 MB free, 100 MB are kept free (disk.min_free) and 61 MB for the mail "
        "that is there"
    )
    assert case.space.short
    case.space.require(0)
    assert case.space.problem() is None
    assert case.space.left == 99 * MB


def test_every_shard_of_the_node_has_its_part(tmp_path: Path) -> None:
    case = Case(tmp_path, 200 * MB, shards=4)
    case.uses = Uses(10 * MB, 5 * MB)
    assert case.said() is None
    assert case.space.left == 10 * MB
    case.uses = Uses(20 * MB, 6 * MB)
    assert "104 MB for the mail" in str(case.said())
    assert case.space.short


def test_what_is_taken_between_two_looks(tmp_path: Path) -> None:
    case = Case(tmp_path, 110 * MB)
    space = case.space
    space.begin()
    assert space.take(2 * MB) is None
    assert space.left == 6 * MB - ROWS
    assert space.take(2 * MB) is None
    case.clock.advance(0.02)
    looks = case.disks.looks
    case.disks.free = 108 * MB  # nothing of it is on the disk yet, others have come
    assert "mail that is coming" in str(space.take(2 * MB))
    assert case.disks.looks == looks + 1
    assert space.take(2 * MB) is not None
    assert case.disks.looks == looks + 1  # not more often than a hundred times a second
    space.begin()  # all was written
    case.clock.advance(0.02)
    case.disks.free = 120 * MB
    assert space.take(1 * MB) is None
    assert space.left == 18 * MB - ROWS


def test_a_look_comes_once_a_second(tmp_path: Path) -> None:
    case = Case(tmp_path, 200 * MB)
    for _ in range(10):
        case.space.begin()
        assert case.space.take(1000) is None
    assert case.disks.looks == 1
    case.disks.free = 99 * MB
    case.clock.advance(1.1)
    case.space.begin()
    assert "99 MB free" in str(case.space.take(1000))
    case.disks.free = 200 * MB
    case.space.begin()
    assert case.space.take(1000) is not None
    case.clock.advance(1.1)
    case.space.begin()
    assert case.space.take(1000) is None


def test_room_that_is_gone_at_once(tmp_path: Path) -> None:
    case = Case(tmp_path, 200 * MB)
    case.space.begin()
    assert case.space.take(1000) is None
    case.disks.free = 10 * MB
    case.space.spent()
    case.clock.advance(0.02)
    assert "10 MB free" in str(case.space.take(1000))


def test_a_disk_without_inodes_is_full(tmp_path: Path) -> None:
    case = Case(tmp_path, 200 * MB)
    case.disks.files = FILES - 1
    assert case.said() == f"{tmp_path}: 99 more files can be made, 100 are kept"
    assert case.space.short
    case.disks.files = case.disks.all_files = 0  # as btrfs says, which has no fixed number
    assert case.said() is None


def test_a_disk_that_cannot_be_asked(tmp_path: Path) -> None:
    case = Case(tmp_path, 200 * MB)
    case.disks.error = OSError(errno.EIO, os.strerror(errno.EIO))
    assert case.said() == f"{tmp_path}: Input/output error"


def test_a_log_on_another_disk(tmp_path: Path) -> None:
    case = Case(tmp_path, 160 * MB, log_folder=ELSEWHERE)
    case.uses = Uses(spool=50 * MB, log=30 * MB)
    assert case.said() is None
    assert case.space.left == 10 * MB
    case.disks.other = 129 * MB
    assert case.said() == (
        "/proc: 129 MB free, 100 MB are kept free (disk.min_free) and 30 MB for the mail that is "
        "there"
    )
    assert case.space.take(1) == case.space.problem()
    assert not case.space.short  # the spool has room: nothing is to be given up for that


@pytest.mark.parametrize("kept", [1 << 40, 5 * MB])
def test_the_state_on_another_disk(tmp_path: Path, kept: int) -> None:
    case = Case(tmp_path, 1 << 50, home_folder=ELSEWHERE, min_free_bytes=kept)
    case.disks.other = min(kept, STATE)
    assert case.said() is None
    case.disks.other -= 4096
    assert str(case.said()).startswith("/proc: ")


def test_folders_on_the_same_disk_count_once(tmp_path: Path) -> None:
    case = Case(tmp_path, 200 * MB, log_folder=tmp_path, home_folder=tmp_path)
    case.space.look()
    assert case.disks.looks == 1


def test_a_folder_that_is_not_there_is_no_disk(tmp_path: Path) -> None:
    case = Case(tmp_path, 200 * MB, log_folder=tmp_path / "none", home_folder=tmp_path / "none")
    assert case.said() is None
    assert case.disks.looks == 1


def test_what_may_be_used_for_a_moment(tmp_path: Path) -> None:
    case = Case(tmp_path, 120 * MB)
    case.uses = Uses(30 * MB, 0)
    case.space.look()
    assert case.space.short
    assert case.space.loan == 10 * MB
    case.disks.free = 90 * MB
    case.space.look()
    assert case.space.loan == 0
