"""xtext and its sister for UTF-8 addresses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta.smtp import xtext

texts = st.text(st.characters(exclude_categories=("Cs",)))


@given(texts)
def test_xtext_comes_back(text: str) -> None:
    encoded = xtext.encode(text)
    assert encoded.isascii() and encoded.isprintable() and not set(" =") & set(encoded)
    assert xtext.is_plain_xtext(encoded) is all(" " <= character <= "~" for character in text)
    assert xtext.decode(encoded) == text


@given(texts)
def test_utf8_addresses_come_back(text: str) -> None:
    encoded = xtext.encode_utf8(text)
    assert encoded.isascii() and (encoded.isprintable() and " " not in encoded)
    assert xtext.decode_utf8(encoded) == text


def test_what_is_no_xtext() -> None:
    bad = ["a b", "a=b", "a+b", "a+2b", "\u00e9", "a\r\n", "a+0D", "+7F", "+80", "+1F"]
    assert not any(map(xtext.is_plain_xtext, bad))
    assert xtext.is_plain_xtext("a+2B+20+7E") and xtext.decode("a+C3+A9") == "a\u00e9"


def test_escapes_of_no_character() -> None:
    assert xtext.decode_utf8("a\\x{D800}\\x{110000}") == "a\ufffd\ufffd"
