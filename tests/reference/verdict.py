"""Replies as plain Python makes them."""

from __future__ import annotations

LINE = 512


def rendered(code: int, enhanced: str, text: str) -> bytes:
    """A reply of one or more lines of at most 512 octets."""
    prefix = f" {enhanced} " if enhanced else " "
    room = LINE - len(prefix) - 5
    lines = [part for line in text.splitlines() or [""] for part in _fold(_clean(line), room)]
    parts = [f"{code}-{prefix[1:]}{line}" for line in lines[:-1]] + [f"{code}{prefix}{lines[-1]}"]
    return "".join(f"{part}\r\n" for part in parts).encode("ascii")


def _clean(line: str) -> str:
    return "".join(c if " " <= c <= "~" else " " if c == "\t" else "?" for c in line)


def _fold(line: str, room: int) -> list[str]:
    parts = []
    while len(line) > room:
        cut = line.rfind(" ", 1, room + 1)
        cut = cut if cut > 0 else room
        parts.append(line[:cut])
        line = line[cut:].lstrip(" ")
    return [*parts, line]
