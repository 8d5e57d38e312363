"""Dying at a named point: what `# point: NAME` becomes in a build of `tools/trial.py points`.

No other build has the call. MTA_POINT names a file; `arm` writes the name of a point into it, how
often a process passes it before, and who dies: `process`, `supervisor` (of a worker), or
`everything`. The first process that reaches it takes the file, so that just one kill comes of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import NamedTuple

MARK = re.compile(r"^([ \t]*)# point: (.+)$", re.M)
CALL = r"\1__import__('tests.torture.points', fromlist=['reach']).reach('\2')"
VARIABLE = "MTA_POINT"
WHO = ("process", "supervisor", "everything")

_passed: dict[str, int] = {}  # times that this process passed what is armed, by the file's text


class Order(NamedTuple):
    """What is armed."""

    name: str
    skip: int
    who: str


def arm(file: Path, order: Order) -> None:
    """Have somebody die at a point."""
    draft = file.with_suffix(".draft")
    draft.write_text("|".join(map(str, order)))
    draft.rename(file)


def disarm(file: Path) -> bool:
    """Call it off; False if it has happened."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


def reach(name: str) -> None:
    """This process is at a point."""
    place = os.environ.get(VARIABLE, "")
    try:
        text = Path(place).read_text()
    except OSError:
        return
    armed, skip, who = text.split("|")
    if armed != name:
        return
    _passed[text] = _passed.get(text, 0) + 1
    if _passed[text] <= int(skip):
        return
    with contextlib.suppress(FileNotFoundError):  # another process was first
        Path(place).rename(f"{place}.reached")
        die(who)


def die(who: str) -> None:
    """SIGKILL, as if somebody had sent it."""
    if who == "everything":
        os.killpg(0, signal.SIGKILL)
    elif who == "supervisor":
        os.kill(os.getppid(), signal.SIGKILL)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def names(tree: Path) -> list[str]:
    """Every point of a tree's package, in the order of its files."""
    files = sorted((tree / "mta").rglob("*.py"))
    return [found[2] for file in files for found in MARK.finditer(file.read_text())]
