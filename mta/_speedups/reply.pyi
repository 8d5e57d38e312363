"""Reading SMTP replies (RFC 5321 4.2) from pieces of any size, within bounds.

A line has at most 4,096 octets, a reply at most 128 lines, of which the first 4,096 octets of text
are kept. A bare LF is taken as a line's end. Control characters in a text become `?`, octets that
are not UTF-8 become U+FFFD.
"""

Buffer = bytes | bytearray | memoryview

class ReplyReader:
    """Takes octets and stops after each whole reply; used again for the next one."""

    code: int
    """The reply code, 200 to 599; the last line's where lines differ."""
    complete: bool
    """A whole reply was read. The next `feed` begins a new one."""
    error: str | None
    """Why the stream cannot be read any further; final."""

    def feed(self, data: Buffer, start: int = 0) -> int:
        """Read from `start` to the end of one reply at most; where the next one begins."""

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 2034), "" where the text does not begin with one."""

    @property
    def text(self) -> str:
        """The text without enhanced codes, its lines joined by a blank."""

    @property
    def lines(self) -> list[str]:
        """The text line by line as it came, for EHLO."""
