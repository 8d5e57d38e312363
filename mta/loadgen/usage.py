"""What a process and all it started have used: CPU time and memory, read from /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
PSS = re.compile(rb"^Pss:\s+(\d+)", re.M)


def tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                left += map(int, children.read_text().split())
            except OSError:  # the thread has ended
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree, with descendants that were waited for."""
    ticks = 0
    for one in tree(pid):
        try:
            stat = Path(f"/proc/{one}/stat").read_text()
        except OSError:  # it has ended; its parent's figure has it
            continue
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))  # utime stime cutime cstime
    return ticks * TICK


def pss_of(pid: int) -> int:
    """Memory of one process, shared pages counted by share; 0 if it has ended."""
    try:
        found = PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def pss_bytes(pid: int) -> int:
    """Memory of a process tree."""
    return sum(map(pss_of, tree(pid)))
