"""Clocks of a process that a test moves: a library that is loaded before the C library's own."""

from __future__ import annotations

import mmap
import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).with_suffix(".c")
CLOCKS = struct.Struct("=qqq")  # nanoseconds: wall clock, monotonic, since boot


@cache
def library() -> tuple[Path, TemporaryDirectory[str]]:
    """The compiled library, and the folder that goes with this process."""
    folder = TemporaryDirectory(prefix="mta-timewarp-")
    made = Path(folder.name) / "timewarp.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(made), str(SOURCE)]
    subprocess.run([*command, "-ldl"], check=True)
    return made, folder


class Timewarp:
    """Moves the clocks of those that run in its `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "timewarp"
        self._path.write_bytes(bytes(CLOCKS.size))
        self._file = self._path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), CLOCKS.size)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs."""
        return {"LD_PRELOAD": str(library()[0]), "TIMEWARP": str(self._path)}

    @property
    def ahead(self) -> float:
        """By how much the wall clock of those processes is ahead of ours, seconds."""
        return float(CLOCKS.unpack(self._map[:])[0] / 1e9)

    def step(self, seconds: float) -> None:
        """Set the wall clock."""
        self._add(seconds, 0, 0)

    def run(self, seconds: float) -> None:
        """Let time pass at once: every clock goes on."""
        self._add(seconds, seconds, seconds)

    def suspend(self, seconds: float) -> None:
        """What a machine sees that was suspended: its monotonic clock stood still."""
        self._add(seconds, 0, seconds)

    def _add(self, *seconds: float) -> None:
        now = CLOCKS.unpack(self._map[:])
        moved = (old + round(more * 1e9) for old, more in zip(now, seconds, strict=True))
        self._map[:] = CLOCKS.pack(*moved)

    def close(self) -> None:
        """Leave the clocks as they are."""
        self._map.close()
        self._file.close()

    def __enter__(self) -> Timewarp:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
