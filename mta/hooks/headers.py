"""Header fields of a message's content: one read, some replaced or removed; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322 2.2
LONGEST_LINE = 998  # RFC 5322 2.1.1
FOLDED = re.compile(rb"\r\n(?=[ \t])")


def check_headers(set_: Mapping[str, str], remove: Iterable[str]) -> None:
    """ValueError if a name or value cannot stand in a header."""
    if isinstance(remove, str):
        raise ValueError("remove_headers: a tuple of names is needed, not one text")
    for name in (*set_, *remove):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header field")
    for name, value in set_.items():
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"{name}: printable ASCII is needed (RFC 2047 encodes the rest)")
        if len(name) + len(value) + 2 > LONGEST_LINE:
            raise ValueError(f"{name}: a header line has at most {LONGEST_LINE} characters")


def header(content: bytes, name: str) -> str | None:
    """The first field of this name, unfolded; None if there is none."""
    wanted = name.lower().encode("utf-8", "replace")
    for start, end in _fields(content):
        field_name, colon, value = content[start:end].partition(b":")
        if colon and field_name.rstrip(b" \t").lower() == wanted:
            return FOLDED.sub(b"", value).strip().decode("utf-8", "replace")
    return None


def alter(content: bytes, set_: Mapping[str, str], remove: Iterable[str] = ()) -> bytes:
    """The content without the fields named, `set_` in front; our trace stays the first."""
    gone = {name.lower().encode() for name in (*set_, *remove)}
    added = b"".join(f"{name}: {value}\r\n".encode() for name, value in set_.items())
    kept = []
    trace = end_of_header = 0
    for start, end in _fields(content):
        name = content[start:end].partition(b":")[0].rstrip(b" \t").lower()
        if name not in gone:
            kept.append(content[start:end])
            if name == b"received" and trace == len(kept) - 1:
                trace = len(kept)
        end_of_header = end
    kept.insert(trace, added)  # RFC 5321 4.4: trace fields stay at the top
    rest = content[end_of_header:]
    separator = b"" if rest[:2] == b"\r\n" or not rest else b"\r\n"
    return b"".join([*kept, separator, rest])


def _fields(content: bytes) -> Iterable[tuple[int, int]]:
    """Start and end of each header field, its continuation lines and final CRLF with it."""
    at, size = 0, len(content)
    while at < size and content[at : at + 2] != b"\r\n":
        end = at
        while True:
            newline = content.find(b"\r\n", end)
            end = size if newline < 0 else newline + 2
            if end >= size or content[end : end + 1] not in (b" ", b"\t"):
                break
        if b":" not in content[at:end] or content[at : at + 1] in (b" ", b"\t"):
            return  # RFC 5322 2.2: not a field, so the header has ended
        yield at, end
        at = end
