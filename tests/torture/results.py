"""What runs came to: JSON lines in a folder, of which tools/reliability.py makes a document."""

from __future__ import annotations

import datetime
import json
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.torture.checker import Account

FOLDER = Path(__file__).parent / "results"
SHOWN = 20  # problems that a row names


@dataclass
class Row:
    """One line of the table: what was done how often, and what came of it."""

    fault: str
    rounds: int
    recipients: int = 0  # promised
    lost: int = 0
    duplicated: int = 0  # second copies, all of them explained
    problems: int = 0
    recovery: float = 0.0  # seconds, the worst
    seconds: float = 0.0  # the whole run
    found: list[str] = field(default_factory=list)  # the first problems

    def add(self, account: Account, where: str = "") -> None:
        """Count in what the checker found."""
        self.recipients += account.recipients
        self.lost += account.lost
        self.duplicated += account.second
        self.problems += len(account.problems)
        self.found += [f"{where}{problem}" for problem in account.problems]


@dataclass
class Plan:
    """What a run is told."""

    folder: Path
    rounds: int
    seed: int
    tell: Callable[[str], None] = lambda line: None
    options: dict[str, Any] = field(default_factory=dict)  # of the case's own


def write(folder: Path, name: str, command: str, rows: Iterable[Row]) -> None:
    """Put the rows of a run in place of those of the run of this name before it."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": name, "command": command, "commit": commit(), "date": today()}
    lines = []
    for row in rows:
        row.found = row.found[:SHOWN]
        row.recovery, row.seconds = round(row.recovery, 2), round(row.seconds, 1)
        lines.append(json.dumps(about | asdict(row)) + "\n")
    (folder / f"{name}.jsonl").write_text("".join(lines))


def read(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All rows, by the name of their run."""
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def commit() -> str:
    """What this tree is, as git tells it; "" where there is no git."""
    command = ["git", "-C", str(FOLDER.parent), "describe", "--always", "--dirty", "--abbrev=9"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def today() -> str:
    """The date."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
