"""Files of zeros, written a step at a time, so that nobody's sync waits behind a whole file.

Each step goes past the page cache and waits for the disk itself; where the file system cannot do
that, it is synced by itself. A disk that is quick gets larger steps: they cost less CPU.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mta.clock import Clock

STEP = 256 << 10  # octets; the first step, and the least
LARGEST = 2 << 20
QUICK, SLOW = 0.005, 0.020  # s of a step; the next one is twice as large, or half
ZEROS = memoryview(mmap.mmap(-1, LARGEST)).toreadonly()  # O_DIRECT wants whole pages


def make(path: Path, octets: int, rest: Callable[[float, float], None], clock: Clock) -> int:
    """A new synced file of zeros, opened; OSError, and no file, if the disk has no room.

    `rest` is called between steps with the share that is done and the seconds the last step
    took; if it raises, there is no file either.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, octets)
        _fill(path, file, octets, rest, clock)
        os.fdatasync(file)
    except BaseException:
        os.close(file)
        path.unlink(missing_ok=True)
        raise
    return file


def _fill(
    path: Path, file: int, octets: int, rest: Callable[[float, float], None], clock: Clock
) -> None:
    direct, at, step = _direct(path), 0, STEP
    try:
        while at < octets:
            began = clock.monotonic()
            _step(direct, file, ZEROS[: min(step, octets - at)], at)
            at, took = min(octets, at + step), clock.monotonic() - began
            if took < QUICK:
                step = min(2 * step, LARGEST)
            elif took > SLOW:
                step = max(step // 2, STEP)
            rest(at / octets, took)
    finally:
        if direct >= 0:
            os.close(direct)


def _direct(path: Path) -> int:
    """The file opened to be written past the page cache, -1 if that cannot be."""
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1


def _step(direct: int, file: int, zeros: memoryview, at: int) -> None:
    """Write zeros and wait until the disk has them."""
    if direct >= 0:
        try:
            if os.pwrite(direct, zeros, at) == len(zeros):
                return
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system without it, or a part of a block
                raise
    os.pwrite(file, zeros, at)
    os.fdatasync(file)
