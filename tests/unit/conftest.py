"""Folders of the unit tests are in memory, where that has room: a disk would only be waited for.

What is on disk after a crash is shown by `tests/crash` and the scenarios, which have one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")  # noqa: S108
ROOM = 1 << 30  # octets that are free there


def roomy() -> bool:
    """Files can be made in memory, enough of them, and programs be run from there."""
    if not os.access(MEMORY, os.W_OK):
        return False
    found = os.statvfs(MEMORY)
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC


@pytest.fixture(scope="session")
def folders() -> Iterator[Path]:
    """Where the folders of tests are."""
    with tempfile.TemporaryDirectory(prefix="mta-unit-", dir=MEMORY if roomy() else None) as path:
        yield Path(path)


@pytest.fixture
def tmp_path(folders: Path) -> Iterator[Path]:
    """An empty folder; it goes with the test."""
    path = Path(tempfile.mkdtemp(dir=folders))
    yield path
    shutil.rmtree(path, ignore_errors=True)
