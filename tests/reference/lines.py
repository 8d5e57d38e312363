"""Line ends, the plain way."""

from __future__ import annotations

import re


def line_end(data: bytes, start: int = 0) -> tuple[str, int]:
    """Kind and place of the first CR or LF."""
    found = re.compile(rb"[\r\n]").search(data, start)
    if found is None or data[found.start() :] == b"\r":
        return "open", found.start() if found else len(data)
    at = found.start()
    if data[at : at + 2] == b"\r\n":
        return "crlf", at
    return ("bare_lf" if data[at] == 10 else "bare_cr"), at


def bare_newline(data: bytes, start: int = 0) -> int:
    """The first CR without its LF, or LF without its CR."""
    text = data[start:].replace(b"\r\n", b"..")
    found = re.search(rb"[\r\n]", text)
    return found.start() + start if found else -1
