"""xtext (RFC 3461 4) and the escapes of utf-8 addresses (RFC 6533 3)."""

from __future__ import annotations

import re

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_UNSAFE = re.compile(r"[^!-*,-<>-~]")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")


def is_xtext(text: str) -> bool:
    """Printable ASCII without + and =, other octets as +HH."""
    return _XTEXT.fullmatch(text) is not None


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


def encode_utf8(text: str) -> str:
    r"""An address as utf-8-addr-xtext: ASCII, all else as \x{HEX}."""
    return _NOT_QCHAR.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", text)
