"""Replies of the server (RFC 5321 4.2, RFC 2034), as octets ready to send.

What the core answers by itself stands in `mta/_speedups/server_replies.pyx`; these are the shell's.
"""

from __future__ import annotations

LINE = 512  # RFC 5321 4.5.3.1.5, with the CRLF


def reply(code: int, enhanced: str, text: str) -> bytes:
    """A reply of one or more lines; `enhanced` may be "" (greeting, EHLO, 354).

    A line feed in `text` begins a new line, a line too long is broken at a blank, and what is not
    printable ASCII becomes "?". ValueError for a code or enhanced code that is none.
    """
    if not 200 <= code <= 599:
        raise ValueError(f"{code} is no reply code")
    if enhanced and enhanced[0] != str(code)[0]:
        raise ValueError(f"{enhanced} does not begin as {code} does (RFC 2034 4)")
    prefix = f" {enhanced} " if enhanced else " "
    room = LINE - len(prefix) - 5
    lines = [part for line in text.splitlines() or [""] for part in _fold(_clean(line), room)]
    parts = [f"{code}-{prefix[1:]}{line}" for line in lines[:-1]]
    parts.append(f"{code}{prefix}{lines[-1]}")
    return "".join(f"{part}\r\n" for part in parts).encode("ascii")


def _clean(line: str) -> str:
    """The line without what a reply may not have (RFC 5321 4.2: textstring)."""
    return "".join(c if " " <= c <= "~" else " " if c == "\t" else "?" for c in line)


def _fold(line: str, room: int) -> list[str]:
    """The line in pieces of at most `room` characters, broken at blanks where there are some."""
    parts = []
    while len(line) > room:
        cut = line.rfind(" ", 1, room + 1)
        cut = cut if cut > 0 else room
        parts.append(line[:cut])
        line = line[cut:].lstrip(" ")
    return [*parts, line]


NO_STORAGE = reply(452, "4.3.1", "Not enough storage now, try again later")
SLOW = "Content came too slowly while memory is short, try again later"
TOO_SLOW = reply(421, "4.3.1", SLOW)
LOCAL_ERROR = reply(451, "4.3.0", "A local error, try again later")
EARLY = reply(503, "5.5.1", "Content came before the 354 (RFC 2920 3.1)")
