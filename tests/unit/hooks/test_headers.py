"""Header fields of content: read, replaced, removed; what is not a field stays untouched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.hooks.headers import alter, check_headers, header

MESSAGE = (
    b"Received: from a\r\n\tby b\r\nReceived: from c\r\nSubject: one\r\n two\r\n"
    b"X-A : 1\r\nx-a: 2\r\n\r\nX-A: body\r\n"
)


@pytest.mark.parametrize(
    ("name", "value"),
    [("subject", "one two"), ("X-A", "1"), ("received", "from a\tby b"), ("X-B", None)],
)
def test_the_first_field_unfolded(name: str, value: str | None) -> None:
    assert header(MESSAGE, name) == value


def test_fields_are_replaced_below_the_trace() -> None:
    altered = alter(MESSAGE, {"X-A": "9", "New": "n"}, ("SUBJECT",))
    assert altered == (
        b"Received: from a\r\n\tby b\r\nReceived: from c\r\nX-A: 9\r\nNew: n\r\n\r\nX-A: body\r\n"
    )


@pytest.mark.parametrize(
    ("content", "altered"),
    [
        (b"\r\nbody", b"A: b\r\n\r\nbody"),
        (b"body without header\r\n", b"A: b\r\n\r\nbody without header\r\n"),
        (b"", b"A: b\r\n"),
        (b"S: x", b"A: b\r\nS: x"),
        (b"S: x\r\n y", b"A: b\r\nS: x\r\n y"),
    ],
)
def test_content_without_a_whole_header(content: bytes, altered: bytes) -> None:
    assert alter(content, {"A": "b"}) == altered


@given(st.binary(max_size=60) | st.text(alphabet="aS:\r\n \t", max_size=60).map(str.encode))
def test_nothing_removed_nothing_changed(content: bytes) -> None:
    altered = alter(content, {}, ("X-None",))
    assert altered.replace(b"\r\n", b"") == content.replace(b"\r\n", b"")
    assert header(content, "X-None") is None


@given(st.text(alphabet="ab:\r\n \t", max_size=80).map(str.encode))
def test_what_is_set_is_read_back(content: bytes) -> None:
    assert header(alter(content, {"X-Q": "v w"}), "x-q") == "v w"


@pytest.mark.parametrize(
    ("set_", "remove"),
    [
        ({"A B": "x"}, ()), ({"": "x"}, ()), ({"A:": "x"}, ()), ({"A": "x\r\nB: y"}, ()),
        ({"A": "\u00e9"}, ()), ({"A": "x" * 999}, ()), ({}, ("A B",)), ({}, "Subject"),
    ],
)  # fmt: skip
def test_what_cannot_stand_in_a_header(set_: dict[str, str], remove: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        check_headers(set_, remove)
