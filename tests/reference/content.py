"""Content on its way in, octet by octet."""

from __future__ import annotations

from typing import NamedTuple


class Content(NamedTuple):
    """What became of the octets behind a 354."""

    taken: int
    body: bytes
    flags: int
    fault: str = ""
    fault_line: int = 0


class _Refused(Exception):
    pass


class _Writer:
    def __init__(self, max_size: int, max_line: int, mend: bool, keep: bool) -> None:
        self.max_size, self.max_line, self.mend, self.keep = max_size, max_line, mend, keep
        self.body, self.line, self.length = bytearray(), 1, 0

    def octet(self, octet: int) -> None:
        self.length += 1
        if self.max_line and self.length > self.max_line:
            raise _Refused("line", self.line)
        if self.max_size and len(self.body) + 1 > self.max_size:
            raise _Refused("size", 0)
        if octet == 0 and not self.keep:
            raise _Refused("nul", self.line)
        self.body.append(octet)

    def newline(self) -> None:
        if self.max_size and len(self.body) + 2 > self.max_size:
            raise _Refused("size", 0)
        self.body += b"\r\n"
        self.line, self.length = self.line + 1, 0

    def bare(self, octet: int) -> None:
        if self.keep:
            return self.octet(octet)
        if not self.mend:
            raise _Refused("bare_lf" if octet == 10 else "bare_cr", self.line)
        return self.newline()


def read(
    data: bytes, max_size: int = 0, max_line: int = 0, mend: bool = False, keep: bool = False
) -> Content | None:
    """The content at the start of `data`, or None where its final dot is missing."""
    end = (b"\r\n" + data).find(b"\r\n.\r\n")
    if end < 0:
        return None
    writer = _Writer(max_size, max_line, mend, keep)
    try:
        for line in data[:end].split(b"\r\n")[:-1]:
            for octet in line.removeprefix(b"."):
                writer.bare(octet) if octet in b"\r\n" else writer.octet(octet)
            writer.newline()
    except _Refused as refused:
        return Content(end + 3, b"", 0, *refused.args)
    return Content(end + 3, bytes(writer.body), _flags(bytes(writer.body)))


def read_chunks(
    data: bytes,
    last: bool,
    max_size: int = 0,
    max_line: int = 0,
    mend: bool = False,
    keep: bool = False,
) -> Content:
    """What came by BDAT so far; `last`: nothing more comes."""
    writer = _Writer(max_size, max_line, mend, keep)
    *lines, rest = data.split(b"\r\n")
    if not last:
        rest = rest.removesuffix(b"\r")  # its LF may come
    try:
        for line in lines:
            for octet in line:
                writer.bare(octet) if octet in b"\r\n" else writer.octet(octet)
            writer.newline()
        for octet in rest:
            writer.bare(octet) if octet in b"\r\n" else writer.octet(octet)
    except _Refused as refused:
        return Content(len(data), b"", 0, *refused.args)
    return Content(len(data), bytes(writer.body), _flags(bytes(writer.body)))


def _flags(body: bytes) -> int:
    lines = body.split(b"\r\n")
    eight_bit = any(octet > 127 for octet in body)
    dots = any(line.startswith(b".") for line in lines)
    long = any(len(line) > 998 for line in lines)
    return 1 * eight_bit | 2 * dots | 8 * long
