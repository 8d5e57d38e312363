"""xtext (RFC 3461 4) and the escapes of utf-8 addresses (RFC 6533 3)."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))*")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_UNSAFE = re.compile(r"[^!-*,-<>-~]")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_ESCAPE = re.compile(r"\\x\{([0-9A-F]{2}|[1-9A-F][0-9A-F]{2,5})\}")  # RFC 6533 3
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")


def is_plain_xtext(text: str) -> bool:
    """Printable ASCII, blank, + and = of it as +HH: what ENVID and ORCPT may be (RFC 3461 4)."""
    return _PLAIN.fullmatch(text) is not None


def decode(text: str) -> str:
    """The text behind xtext, octets read as UTF-8."""
    if "+" not in text:
        return text
    octets = _HEX.sub(lambda found: chr(int(found[1], 16)), text)
    return octets.encode("latin-1", "replace").decode("utf-8", "replace")


def encode(text: str) -> str:
    """A text as xtext, its UTF-8 octets."""
    octets = text.encode().decode("latin-1")
    return _UNSAFE.sub(lambda found: f"+{ord(found[0]):02X}", octets)


def decode_utf8(text: str) -> str:
    r"""The address behind utf-8-addr-xtext, where a character may be written \x{HEX}."""

    def character(found: re.Match[str]) -> str:
        point = int(found[1], 16)
        return chr(point) if point < 0x110000 and not 0xD800 <= point < 0xE000 else "\ufffd"

    return _EMBEDDED.sub(character, text)


def plain_utf8(text: str) -> bool:
    r"""Whether utf-8-addr-xtext is well formed, and no \x{HEX} of it a control or no character."""
    rest = _ESCAPE.sub("", text)
    if "\\" in rest or not rest.isprintable():
        return False
    points = [int(found[1], 16) for found in _ESCAPE.finditer(text)]
    return not any(
        point < 0x20 or 0x7F <= point < 0xA0 or 0xD800 <= point < 0xE000 or point > 0x10FFFF
        for point in points
    )


def encode_utf8(text: str) -> str:
    r"""An address as utf-8-addr-xtext: ASCII, all else as \x{HEX}."""
    return _NOT_QCHAR.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", text)
