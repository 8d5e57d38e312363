"""The reply reader and dot-stuffing against their plain-Python twins."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta._speedups.reply import ReplyReader
from mta._speedups.stuff import dot_stuff, needs_stuffing
from tests.reference.client import Malformed, ReplyBuffer, stuff

REPLIES = [
    (b"250\r\n", 250, "", ""),
    (b"250 \r\n", 250, "", ""),
    (b"250 2.1.0 Ok\r\n", 250, "2.1.0", "Ok"),
    (b"250 2.1.0\r\n", 250, "2.1.0", ""),
    (b"550-5.1.1 no\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n", 550, "5.1.1", "no such user"),
    (b"550-no\r\n550 5.1.1 such\r\n", 550, "5.1.1", "no such"),
    (b"550 4.1.1 class differs\r\n", 550, "", "4.1.1 class differs"),
    (b"550 5.1.1000 long\r\n", 550, "", "5.1.1000 long"),
    (b"550 5..1 x\r\n", 550, "", "5..1 x"),
    (b"550 5.1.1, x\r\n", 550, "", "5.1.1, x"),
    (b"550 5.100.255 x\r\n", 550, "5.100.255", "x"),
    (b"354 3.0.0 go\r\n", 354, "3.0.0", "go"),
    (b"250 caf\xc3\xa9 \xff\x00\x1b\t|\r\n", 250, "", "caf\u00e9 \ufffd?? |"),
    (b"250 bare lf\n", 250, "", "bare lf"),
    (b"250-a\r\n451 b\r\n", 451, "", "a b"),
    (b"250 a\rb\r\n", 250, "", "a?b"),
]
BROKEN = [
    b"\r\n", b"25\r\n", b"abc\r\n", b"199 x\r\n", b"600 x\r\n", b"2500 x\r\n", b"250_x\r\n",
    b" 250 x\r\n", b"\x00250 x\r\n", b"250-a\r\nb\r\n", b"250-a\r\n" * 129, b"2" * 4097,
    b"250 " + b"x" * 4092 + b"\r\n",
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(("data", "code", "enhanced", "text"), REPLIES)
def test_reply(data: bytes, code: int, enhanced: str, text: str, size: int) -> None:
    reader = ReplyReader()
    for _ in range(2):  # it is used again
        for at in range(0, len(data), size):
            assert not reader.complete or at == 0
            piece = data[at : at + size]
            assert reader.feed(piece) == len(piece)
        assert reader.error is None
        assert reader.complete
        assert (reader.code, reader.enhanced, reader.text) == (code, enhanced, text)


@pytest.mark.parametrize("size", [1, 1000, 10_000])
@pytest.mark.parametrize("data", BROKEN)
def test_malformed_reply_ends_within_bounds(data: bytes, size: int) -> None:
    reader = ReplyReader()
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
    assert reader.error
    assert not reader.complete
    assert len(reader.error) < 400


def test_reader_stops_after_each_reply() -> None:
    data, reader, at, codes = b"250-a\r\n250 b\r\n354 c\r\n4", ReplyReader(), 0, []
    while at < len(data):
        at = reader.feed(data, at)
        if reader.complete:
            codes.append((reader.code, reader.lines))
    assert codes == [(250, ["a", "b"]), (354, ["c"])]
    reader.feed(b"21 d\r\n")
    assert (reader.code, reader.lines) == (421, ["d"])


def test_text_of_a_long_reply_is_cut() -> None:
    reader = ReplyReader()
    reader.feed(b"".join(b"250-" + b"x" * 500 + b"\r\n" for _ in range(100)) + b"250 end\r\n")
    assert reader.complete
    assert len("".join(reader.lines)) == 4096


LINE = st.builds(
    lambda code, mark, text, end: code + mark + text + end,
    st.sampled_from([b"250", b"550", b"421", b"354", b"2x0", b"199", b"25"]),
    st.sampled_from([b"-", b"-", b" ", b"", b"_"]),
    st.sampled_from([b"", b"ok", b"5.1.1 no", b"2.1.5", b"5.1.1000", b"\xff\t\0", b"x" * 2000]),
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b"", b"\r\r\n"]),
)  # fmt: skip


@given(st.lists(LINE, max_size=8).map(b"".join), st.lists(st.integers(0, 60), max_size=6))
def test_replies_are_those_of_the_twin(data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    reader, twin, replies = ReplyReader(), ReplyBuffer(), []
    for start, end in zip(places, places[1:], strict=False):
        at = start
        while at < end and reader.error is None:
            at = reader.feed(data[:end], at)
            if reader.complete and at:
                replies.append((reader.code, reader.enhanced, reader.text))
    twin.data, expected = data, []
    try:
        while (reply := twin.next()) is not None:
            expected.append(reply.result("")[:3])
    except Malformed:
        assert reader.error
    else:
        assert reader.error is None
    assert replies == expected


def test_a_text_of_one_octet_leaves_the_interpreters_own_alone() -> None:
    octets = bytes(range(256))
    for n in set(range(256)) - {10}:
        reader = ReplyReader()
        reader.feed(b"250 " + octets[n : n + 1] + b"\r\n")
        assert reader.lines and len(reader.text) < 2
        assert ord(octets[n : n + 1]) == n  # one object for all who have this octet alone


def test_feed_refuses_a_start_outside() -> None:
    with pytest.raises(ValueError, match="start 5"):
        ReplyReader().feed(b"250", 5)


PIECES = st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"x", b"\r\n.", b"..", b"\0"]))


@given(PIECES.map(b"".join))
def test_stuffing_as_the_twin_does(body: bytes) -> None:
    stuffed = dot_stuff(body)
    assert stuffed == stuff(body)
    assert needs_stuffing(body) == (stuffed != body)
    assert re.sub(rb"(\A|\r\n)\.", rb"\1", stuffed) == body


def test_what_needs_no_stuffing_is_not_copied() -> None:
    body = b"a.b\r\n c.\n.d\r.e\r\n"
    assert dot_stuff(body) is body
