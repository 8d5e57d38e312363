"""The content of a message on its way in (RFC 5321 4.5.2); `stuff` has the way out."""

FAULTS: tuple[str, ...]

class ContentReader:
    """Takes the octets behind a 354 and becomes the message: unstuffed, checked, flagged.

    Only CRLF.CRLF ends it. Refused are (`fault`, an index into FAULTS, and `fault_line`): more
    than `max_size` octets, a line of more than `max_line`, a NUL, and unless `mend` a bare CR or
    LF; with `keep` neither of the last two. 0 is no limit. Behind a fault nothing is stored, but
    the final dot is still looked for. With `chunked` dots are text and `end` ends it. `ahead` octets
    of room come before the body: `headed` fills them.
    """

    max_size: int
    max_line: int
    mend: bool
    keep: bool
    chunked: bool
    ahead: int
    done: bool
    size: int
    taken: int
    line: int
    flags: int
    fault: int
    fault_line: int

    def __init__(
        self,
        max_size: int = 0,
        max_line: int = 0,
        mend: bool = False,
        hint: int = 0,
        keep: bool = False,
        chunked: bool = False,
        ahead: int = 0,
    ) -> None:
        """`hint` is the declared size: room to begin with."""

    def feed(self, data: bytes) -> int:
        """Read `data` up to its end or the final dot; the number of octets read."""

    def end(self) -> int:
        """The last chunk has been read."""

    def body(self) -> bytes:
        """The message behind `ahead` octets, once; ValueError if it is not done or at fault."""

def headed(body: bytes, ahead: int, parts: list[bytes]) -> bytes:
    """The parts, then what `body` has behind `ahead`: the body itself where the parts fill that room.

    Then it is changed, so it must be the caller's alone.
    """
