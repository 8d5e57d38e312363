"""A program with all that it starts: its CPU time, memory and end.

A control group (v2) where one can be made, which counts descendants to the last; else /proc.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

from mta.loadgen import usage

ROOT = Path(__file__).parent.parent
_numbers = itertools.count()


def cgroup_root() -> Path | None:
    """Where version 2 control groups can be made, or None."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind = line.split()[:3]
        if kind == "cgroup2" and os.access(where, os.W_OK):
            return Path(where)
    return None


class Group:
    """One program, started, measured and ended."""

    def __init__(
        self, name: str, command: list[str], output: IO[bytes] | int, cwd: Path,
        given: IO[bytes] | int = subprocess.DEVNULL,
    ) -> None:  # fmt: skip
        self.folder = _make_folder(name)
        self.peak_pss = 0
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._gone = 0.0  # CPU seconds at the last look, for when all have ended
        self.process = subprocess.Popen(
            command,
            stdin=given,
            env={**os.environ, "PYTHONPATH": path},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=self._enter if self.folder else None,
        )

    def _enter(self) -> None:
        (self.folder / "cgroup.procs").write_text("0")

    def pids(self) -> list[int]:
        """The living processes."""
        if self.folder:
            return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]
        return usage.tree(self.process.pid)

    def cpu(self) -> float:
        """User and system seconds so far, descendants that have ended included."""
        if self.folder:
            stat = (self.folder / "cpu.stat").read_text().split()
            return int(stat[stat.index("usage_usec") + 1]) / 1e6
        self._gone = max(self._gone, usage.cpu_seconds(self.process.pid))
        return self._gone

    def sample(self) -> None:
        """Look at the memory now, and remember the most."""
        self.peak_pss = max(self.peak_pss, self.memory())

    def memory(self) -> int:
        """PSS of all its processes now, octets."""
        return sum(usage.pss_of(pid) for pid in self.pids())

    def descriptors(self) -> int:
        """Open files of all its processes."""
        found = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return found

    def end(self, timeout: float = 20) -> None:
        """SIGTERM to the program, after the time-out SIGKILL to whatever is left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and (left := self._left()):
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.05)
        if self.folder:
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _left(self) -> list[int]:
        if self.folder:
            return self.pids()
        return [] if self.process.poll() is not None else usage.tree(self.process.pid)


def _make_folder(name: str) -> Path | None:
    root = cgroup_root()
    if root is None:
        return None
    folder = root / f"mailrace-bench-{os.getpid()}-{name}-{next(_numbers)}"
    try:
        folder.mkdir()
    except OSError:
        return None
    return folder
