"""Runs an installation, keeps its output in a log, and tells which module is being compiled."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

CYTHONIZING = re.compile(r"\[ *(\d+)/(\d+)\] Cythonizing (\S+)")
BUILDING = re.compile(r"building '(mta\.\S+)' extension")


def total() -> int:
    """How many modules are compiled: every .pyx, and every .py with a .pxd beside it."""
    pyx = list(Path("mta").rglob("*.pyx"))
    return len(pyx) + sum(p.with_suffix(".py").exists() for p in Path("mta").rglob("*.pxd"))


def steps(lines: Iterable[str], modules: int) -> Iterator[str]:
    """What to tell of each line that tells something."""
    built = 0
    for line in lines:
        if found := CYTHONIZING.search(line):
            yield f"to C     {found[1]:>2} of {found[2]}  {found[3]}"
        elif found := BUILDING.search(line):
            built += 1
            yield f"compiled {built:>2} of {modules}  {found[1]}"


def kept(lines: Iterable[str], log: Path) -> Iterator[str]:
    """The lines, written to the log on their way."""
    with log.open("w", encoding="utf-8", buffering=1) as file:
        for line in lines:
            file.write(line)
            yield line


def main() -> int:
    """Run the command; its exit code."""
    log, *command = sys.argv[1:]
    live = sys.stdout.isatty()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for step in steps(kept(process.stdout, Path(log)), total()):
            start, end = ("\r\x1b[K", "") if live else ("", "\n")
            print(f"{start}    {step}", end=end, flush=True)
    if live:
        print("\r\x1b[K", end="", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
