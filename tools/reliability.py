"""Writes docs/reliability.md from tests/torture/results; `--check` tells if it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.torture import cases, damages, results  # noqa: E402

PATH = ROOT / "docs" / "reliability.md"
INTRODUCTION = """\
# Reliability

What was done to a running server on purpose, and what became of each recipient. Written by
`tools/reliability.py` from what the runs of `tests/torture` left in `tests/torture/results`;
[testing](testing.md#faults-on-purpose) tells how they work and how to add one.

- *recipients* were promised: a client read the 250 and wrote it down;
- *lost*: neither a final record in the log nor queued, or a final record that no arrival bears out;
- *duplicated*: second copies at the receiver, each explained by a kill or a cut between its final
  dot and the sync of its outcome (promise 2 in the [design](design.md#promises)); one that is not
  explained is a problem;
- *problems*: everything that the checker or the run objects to, the lost ones among it;
- *recovery*: the longest time from the fault's end, or from a start, until mail was accepted again,
  without a human;
- a *control* must lose mail: it shows that a loss would be seen.
"""
SHOWN = 5  # problems of a row
HEAD = """
| fault | rounds | recipients | lost | duplicated | problems | recovery |
|---|---|---|---|---|---|---|
"""


DAMAGED = """
## What becomes of a damaged file

A server is killed with mail that waits, has been delivered, and has bounced; then a file or folder
of one of its two shards is damaged, and it is started again. The run `damage` holds it to this
table, and accounts for every recipient; [recovery](recovery.md) tells what to do. Where some mail
is said to be bounced or lost, it is at most that whose only copy was damaged: its sender is told,
or it is recorded as Lost and named.

"""


def damaged() -> str:
    """The table of kinds of files and damages, and what its words mean."""
    text = DAMAGED + f"| | {' | '.join(damages.DAMAGES)} |\n" + "|---" * (len(damages.DAMAGES) + 1)
    text += "|\n" + "".join(
        f"| {kind.name} | {' | '.join(kind.outcomes)} |\n" for kind in damages.KINDS
    )
    words = (f"- *{word}*: {what};\n" for word, what in damages.OUTCOMES.items())
    return f"{text}\n{''.join(words)}"


def document(rows: list[dict[str, Any]]) -> str:
    """The whole text."""
    text = INTRODUCTION
    for command in dict.fromkeys(row["command"] for row in rows):
        mine = [row for row in rows if row["command"] == command]
        text += f"\n## {mine[0]['name']}\n\n{about(mine[0]['name'])}\n\n    {command}\n{HEAD}"
        text += "".join(map(line, mine))
        text += "".join(f"\nProblem: {found}\n" for row in mine for found in row["found"][:SHOWN])
        text += f"\n{seconds(sum(row['seconds'] for row in mine))}, {mine[0]['date']}"
        text += f", commit {mine[0]['commit']}.\n" if mine[0]["commit"] else ".\n"
    return text + damaged()


def about(name: str) -> str:
    """What a run does, as `python -m tests.torture list` tells it."""
    text = cases.load(name.partition("-")[0]).ABOUT
    return f"{text[0].upper()}{text[1:]}."


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    figures = (f"{row[name]:,}" for name in
               ("rounds", "recipients", "lost", "duplicated", "problems"))  # fmt: skip
    return f"| {row['fault']} | {' | '.join(figures)} | {row['recovery']:.1f} s |\n"


def seconds(count: float) -> str:
    """How long a run took."""
    return f"{count:.0f} s" if count < 600 else f"{count / 60:.0f} minutes"


def main() -> int:
    """Write or check; 1 if the file is out of date."""
    text = document(results.read())
    if "--check" in sys.argv[1:]:
        return int(PATH.read_text(encoding="utf-8") != text)
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
