"""One look at a message's header: what reception asks about it."""

class Names:
    """Names of fields that are to be left out."""

    def __init__(self, names: frozenset[bytes]) -> None:
        """In lower case."""

class HeaderScan:
    """What `scan` found."""

    header_end: int
    """The offset behind the last header field: of the empty line, or of what is no field."""
    received_count: int
    has_date: bool
    has_message_id: bool
    message_id: str
    """The first Message-ID, stripped; "" where there is none."""
    found: dict[str, str] | None
    """The first value of each name to drop (lower case), unfolded and stripped; None for none."""
    kept: list[tuple[int, int]] | None
    """The slices of the body without the dropped fields; None where nothing is dropped."""

def scan(body: bytes, names: Names = ..., start: int = 0) -> HeaderScan:
    """Read the header of what `body` has behind `start`; fields of `names` are dropped.

    The header ends at an empty line, at the first line that is neither a field nor continues one,
    or with the body. Lines end with LF or CRLF. Offsets are those of `body`.
    """
