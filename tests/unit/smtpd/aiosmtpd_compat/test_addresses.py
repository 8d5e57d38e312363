from __future__ import annotations

from email._header_value_parser import get_addr_spec, get_angle_addr
from email.errors import HeaderParseError

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mta.smtpd.aiosmtpd_compat import addresses

piece = st.sampled_from(
    ["<", ">", "a", "b.c", "@", "example.com", " ", "SIZE=10", "(x)", '"q"', "=?utf-8?q?a?=", "."]
)


def plain(argument: str) -> tuple[str | None, str | None]:
    """What the standard library says, always."""
    try:
        parse = get_angle_addr if argument.lstrip().startswith("<") else get_addr_spec
        found, rest = parse(argument)
    except (HeaderParseError, IndexError):
        return None, None
    return found.addr_spec, rest


@given(st.lists(piece, min_size=1, max_size=8).map("".join))
@example("<a@example.com> SIZE=10")
@example("<a@example.com>  SIZE=10 BODY=8BITMIME ")
@example("<a@example.com> (x)")
@example("<a@example.com>x")
def test_the_fast_way_reads_as_the_library_does(argument: str) -> None:
    assert addresses.address(argument) == plain(argument)


def test_limits_and_nothing() -> None:
    assert addresses.address("") == ("", "")
    assert addresses.address("<abc@d>", 2) == addresses.address("abc@d", 2) == (None, None)
    assert addresses.address("<ab@d>", 2) == ("ab@d", "")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], {}),
        (["SIZE=10", "SMTPUTF8"], {"SIZE": "10", "SMTPUTF8": True}),
        (["SIZE="], None),
        (["#"], None),
    ],
)
def test_parameters(words: list[str], found: dict[str, str | bool] | None) -> None:
    assert addresses.parameters(words) == found


def test_keywords() -> None:
    assert addresses.after_keyword("FROM:", "from: <a> ") == "<a>"
    assert addresses.after_keyword("FROM:", "<a>") is None
