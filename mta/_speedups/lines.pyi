"""Line ends. Only CRLF ends a line (RFC 5321 2.3.8)."""

OPEN: int
CRLF: int
BARE_CR: int
BARE_LF: int

def line_end(data: bytes, start: int = 0) -> tuple[int, int]:
    """The kind (OPEN, CRLF, BARE_CR, BARE_LF) and place of the first CR or LF from `start`.

    OPEN: there is none (the place is the length), or the first is a CR at the very end, so that
    the next octet decides. ValueError if `start` lies outside.
    """

def bare_newline(data: bytes, start: int = 0) -> int:
    """The place of the first CR or LF from `start` that is no part of a CRLF, or -1."""
