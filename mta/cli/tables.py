"""Tables that fit the terminal: whole columns are left out, long texts are cut in the middle."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mta.cli.people import TIMES

GAP = 2
LEAST = 20  # a text is cut to this before its column is left out
WHOLE = {"id", *TIMES}  # useless when cut


class Column(NamedTuple):
    """One column: its key, heading and cells."""

    name: str
    heading: str
    cells: list[str]
    right: bool = False

    @property
    def natural(self) -> int:
        """The width that cuts nothing."""
        return max([width(self.heading), *map(width, self.cells)])


def screen() -> int:
    """Columns of the terminal; 0 where the output is none, so that pipes get whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def lines(columns: Sequence[Column], limit: int, first: Sequence[str] = ()) -> Iterator[str]:
    """A table of at most `limit` columns of text, 0 for any; `first` are kept before the others."""
    widths = fitted(columns, limit, first)
    shown = [column for column in columns if column.name in widths]
    yield row([c.heading for c in shown], shown, widths)
    yield (" " * GAP).join("─" * widths[c.name] for c in shown)
    for cells in zip(*(column.cells for column in shown), strict=True):
        yield row(cells, shown, widths)
    left_out = [column.heading for column in columns if column.name not in widths]
    if left_out:
        yield f"(not shown: {', '.join(left_out)}; --wide shows all)"


def fitted(columns: Sequence[Column], limit: int, first: Sequence[str] = ()) -> dict[str, int]:
    """The width of each column that is shown, by its name."""
    natural = {column.name: column.natural for column in columns}
    if not limit or sum(natural.values()) + GAP * (len(columns) - 1) <= limit:
        return natural
    rank = {name: place for place, name in enumerate(first)}
    ordered = sorted(columns, key=lambda column: rank.get(column.name, len(rank)))
    widths: dict[str, int] = {}
    left = limit + GAP
    for column in ordered:
        least = natural[column.name]
        if not (column.right or column.name in WHOLE):
            least = min(least, max(LEAST, width(column.heading)))
        if least + GAP <= left or not widths:
            widths[column.name] = least
            left -= least + GAP
    for name in widths:  # the most important grow first
        more = min(max(left, 0), natural[name] - widths[name])
        widths[name] += more
        left -= more
    return widths


def row(cells: Sequence[str], columns: Sequence[Column], widths: dict[str, int]) -> str:
    """One line."""
    parts = []
    for text, column in zip(cells, columns, strict=True):
        wanted = widths[column.name]
        text = cut(text, wanted)
        blanks = " " * (wanted - width(text))
        parts.append(blanks + text if column.right else text + blanks)
    return (" " * GAP).join(parts).rstrip()


def cut(text: str, wanted: int) -> str:
    """A text without its middle, where it is too long."""
    if len(text) <= wanted and width(text) <= wanted:
        return text
    head, tail = text[: wanted // 2], text[len(text) - (wanted - 1) // 2 :]
    while width(head) + width(tail) + 1 > wanted and (head or tail):
        head, tail = (head[:-1], tail) if width(head) >= width(tail) else (head, tail[1:])
    return f"{head}…{tail}"


def width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
