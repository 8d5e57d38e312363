"""Real file systems on loop devices, and what is on their disk at a moment.

The disk of the file system that is tried is a file on an XFS of our own, whose reflinks copy it at
once, however it is written to. What had reached that file is what a power cut leaves; what the file
system still held in memory is not in it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTER, INNER = 6 << 30, 1 << 30  # octets; only what is written takes room
MAKE = {"ext4": ["-q", "-F"], "xfs": ["-q"], "btrfs": ["-q", "-f"]}
OPTIONS = {"ext4": "commit=1", "xfs": "nouuid", "btrfs": "commit=1"}
CAP_SYS_ADMIN = 21
LOOK = 0.05  # seconds between two writebacks
UNMOUNTS = 40  # times that a busy mount is tried
WRITTEN_BACK = {".log", ".sst", ".zst", ".bodies", ".db-wal", ".db", ".dbtmp"}


def missing(kind: str) -> str:
    """Why this file system cannot be tried here; "" if it can."""
    if kind not in MAKE:
        return f"{kind} is none of {', '.join(MAKE)}"
    rights = Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0]
    if not int(rights, 16) >> CAP_SYS_ADMIN & 1 or not Path("/dev/loop-control").exists():
        return "mounting on loop devices is not allowed here"
    for program in ("losetup", "mount", "mkfs.xfs", f"mkfs.{kind}"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    known = Path("/proc/filesystems").read_text().split()
    lacking = [name for name in ("xfs", kind) if name not in known]
    return f"the kernel has no {lacking[0]}" if lacking else ""


class Volume:
    """A file system of a kind, and copies of its disk."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self._outer, self.mounted = folder / "outer", folder / "mounted"
        self._image, self._disk = folder / "outer.img", folder / "outer" / "disk.img"
        for path in (self._outer, self.mounted):
            path.mkdir(parents=True)
        self._mounts: list[Path] = []

    def __enter__(self) -> Volume:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        _sparse(self._image, OUTER)
        _run("mkfs.xfs", "-q", "-m", "reflink=1", str(self._image))
        self._mount(self._image, self._outer, "noatime")
        _sparse(self._disk, INNER)
        _run(f"mkfs.{self.kind}", *MAKE[self.kind], str(self._disk))
        self.mount(self._disk)

    def __exit__(self, *error: object) -> None:
        while self._mounts:
            self._unmount(self._mounts[-1])

    def snapshot(self, name: str) -> Path:
        """The disk as it is at some moment of this call."""
        to = self._outer / f"{name}.img"
        _run("cp", "--reflink=always", str(self._disk), str(to))
        return to

    def mount(self, disk: Path) -> None:
        """Mount a disk, or a copy of it, in place of what is mounted."""
        if self.mounted in self._mounts:
            self._unmount(self.mounted)
        self._mount(disk, self.mounted, OPTIONS[self.kind])

    def _mount(self, disk: Path, to: Path, options: str) -> None:
        _run("mount", "-o", f"loop,{options}", str(disk), str(to))
        self._mounts.append(to)

    def _unmount(self, path: Path) -> None:
        """A loop device may hold the file below it for longer than it is mounted here.

        So it is in a namespace that another process made meanwhile: it goes with that.
        """
        self._mounts.remove(path)
        for _ in range(UNMOUNTS):
            if not subprocess.run(
                ["umount", str(path)], capture_output=True, check=False
            ).returncode:
                return
            time.sleep(LOOK)
        _run("umount", "--lazy", str(path))

    @contextlib.contextmanager
    def written_back(self, seed: int) -> Iterator[None]:
        """Meanwhile some of what is in memory goes to the disk, in no order."""
        end, chance = threading.Event(), random.Random(seed)

        def work() -> None:
            while not end.wait(LOOK):
                self._write_back(chance)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def _write_back(self, chance: random.Random) -> None:
        """Have the kernel write a part of a file."""
        files = [path for path in self.mounted.rglob("*") if path.suffix in WRITTEN_BACK]
        with contextlib.suppress(OSError):  # the file, or all of them, may be gone
            file = os.open(chance.choice(files or [self.mounted]), os.O_RDONLY)
            try:
                size = os.fstat(file).st_size
                start = chance.randrange(size + 1) & ~4095
                length = chance.choice((4096, 16384, size))
                os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def _sparse(path: Path, size: int) -> None:
    with path.open("xb") as file:
        file.truncate(size)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
