"""Dot-stuffing of outgoing content (RFC 5321 4.5.2); only CRLF ends a line."""

def dot_stuff(body: bytes) -> bytes:
    """`body` with a dot put before every line that begins with one; `body` itself if none does."""

def needs_stuffing(body: bytes) -> bool:
    """True if some line of `body` begins with a dot."""
