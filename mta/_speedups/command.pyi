"""Parsing of SMTP command lines: verb, path, parameters (RFC 5321 4.1).

A line is given without its CRLF and its trailing blanks. The server core uses the C functions of
command.pxd; these are the same for Python.
"""

def verb(line: bytes) -> tuple[str, int]:
    """The verb in upper case and where its argument begins.

    "" is an unknown verb, "other" one of the standards that is not offered, "http" a web client's.
    """

def path(text: bytes, recipient: bool = False) -> tuple[str, int]:
    """The address in angle brackets at the start of `text`, and the offset behind the bracket.

    A source route is stripped. ValueError says what is wrong. A recipient may be <postmaster>, a
    sender may be <>. Octets over 127 must be UTF-8 (RFC 6531 3.3).
    """

def params(text: bytes) -> list[tuple[str, str | None]]:
    """The parameters (keyword in upper case, value or None), each after a blank; ValueError."""

def name_ok(text: bytes) -> bool:
    """Whether a client may call itself so in EHLO."""
