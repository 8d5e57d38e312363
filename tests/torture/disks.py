"""Small real file systems to fill and to empty: ext4 in a file, mounted on a loop device."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = ("mount", "umount", "mkfs.ext4", "losetup")
PIECE = 1 << 20


def lacking() -> str:
    """Why no file system can be mounted here; "" if it can."""
    if os.geteuid():
        return "mounting a file system needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    return "" if Path("/dev/loop-control").exists() else "there are no loop devices"


class Disk:
    """A mounted file system, and a file that takes its room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler, self._files = folder / "filler", folder / "many"

    def free(self) -> int:
        """Octets that are free for everybody but root's reserve."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all room but so many octets."""
        with self._filler.open("ab") as file:
            while (room := self.free() - leave) > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, 2), min(room, 64 * PIECE))
                    file.seek(0, 2)
                except OSError:
                    if room <= PIECE:
                        return
                    with contextlib.suppress(OSError):
                        os.posix_fallocate(file.fileno(), file.seek(0, 2), PIECE)
                        continue
                    return

    def fill_inodes(self) -> None:
        """Take all inodes."""
        self._files.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            for number in range(1 << 20):
                (self._files / str(number)).touch()

    def give_back(self) -> None:
        """Free what was taken."""
        self._filler.unlink(missing_ok=True)
        shutil.rmtree(self._files, ignore_errors=True)


@contextlib.contextmanager
def ext4(image: Path, at: Path, octets: int, inodes: int = 4096) -> Iterator[Disk]:
    """A new file system in a file, mounted at a new folder; both go in the end."""
    at.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(octets)
    make = ["mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(inodes), str(image)]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(at)], check=True, capture_output=True)
    try:
        yield Disk(at)
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True, capture_output=True)
        image.unlink()
