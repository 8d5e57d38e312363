from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta._speedups import lines
from tests.reference import lines as plain

text = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0"])).map(b"".join)
KINDS = {lines.OPEN: "open", lines.CRLF: "crlf", lines.BARE_CR: "bare_cr", lines.BARE_LF: "bare_lf"}


@given(text, st.data())
def test_line_ends_are_those_of_the_twin(data: bytes, more: st.DataObject) -> None:
    start = more.draw(st.integers(0, len(data)))
    kind, at = lines.line_end(data, start)
    assert (KINDS[kind], at) == plain.line_end(data, start)


@given(text)
def test_bare_newlines_are_those_of_the_twin(data: bytes) -> None:
    assert lines.bare_newline(data) == plain.bare_newline(data)


def test_bare_newline_from_the_middle() -> None:
    assert lines.bare_newline(b"a\nb\r\nc\rd", 2) == 6
