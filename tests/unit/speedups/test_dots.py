from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mta._speedups.dots import FAULTS, ContentReader, headed
from mta._speedups.stuff import dot_stuff, needs_stuffing
from mta.model import Flag
from tests.reference import content as plain

piece = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b".", b"..", b"\r\n.", b"\r\n.\r\n", b"a", b"\xe9", b"\0", b"b" * 997]
)
text = st.lists(piece, max_size=24).map(b"".join)
limits = st.sampled_from([0, 1, 2, 3, 5, 8, 1000])


def read(reader: ContentReader, data: bytes, cuts: list[int]) -> plain.Content | None:
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in zip(places, places[1:], strict=False):
        reader.feed(data[start:end])
    if not reader.done:
        return None
    if reader.fault:
        return plain.Content(reader.taken, b"", 0, FAULTS[reader.fault], reader.fault_line)
    return plain.Content(reader.taken, reader.body(), reader.flags)


newlines = st.sampled_from(["reject", "fix", "keep"])


@given(text, limits, limits, newlines, st.integers(-1, 50), st.lists(st.integers(0, 3000)))
@example(b"\r\r\n\n.\r\n\r\n.\r\n", 0, 0, "fix", 0, [1, 2, 3, 4, 5, 6, 7, 8, 9])
@example(b"\n" * 9 + b"a", 0, 5, "keep", 0, [4])
def test_content_is_that_of_the_twin(
    data: bytes, max_size: int, max_line: int, bare: str, hint: int, cuts: list[int]
) -> None:
    mend, keep = bare == "fix", bare == "keep"
    expected = plain.read(data + b"\r\n.\r\n", max_size, max_line, mend, keep)
    for places in ([], cuts, list(range(len(data) + 5))):
        reader = ContentReader(max_size, max_line, mend, hint, keep)
        assert read(reader, data + b"\r\n.\r\n", places) == expected


@given(text.map(lambda data: data.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"\r\n")))
def test_what_is_stuffed_comes_back(data: bytes) -> None:
    data += b"\r\n"
    reader = ContentReader()
    reader.feed(dot_stuff(data) + b".\r\n")
    assert reader.body() == data
    assert bool(reader.flags & Flag.DOT_LINES) == needs_stuffing(data)


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\r\n"]
)
@pytest.mark.parametrize("mend", [False, True])
def test_nothing_but_crlf_dot_crlf_ends_content(end: bytes, mend: bool) -> None:
    reader = ContentReader(mend=mend)
    reader.feed(b"a" + end + b"MAIL FROM:<smuggled@x.example>\r\n")
    assert not reader.done
    reader.feed(b".\r\n")
    assert reader.done
    assert bool(reader.fault) != mend


def test_mended_content_has_no_bare_newline_and_keeps_its_dots() -> None:
    reader = ContentReader(mend=True)
    reader.feed(b"a\n.\r\nb\r.c\r\n.\r\n")
    assert reader.body() == b"a\r\n.\r\nb\r\n.c\r\n"
    assert reader.flags == Flag.DOT_LINES


def test_a_refused_content_gives_its_memory_back() -> None:
    reader = ContentReader(max_size=100_000)
    for _ in range(50):
        reader.feed(b"x" * 10_000)
    assert (reader.size, reader.taken, FAULTS[reader.fault]) == (0, 500_000, "size")


def test_a_body_is_taken_once() -> None:
    reader = ContentReader()
    with pytest.raises(ValueError):
        reader.body()
    reader.feed(b"x\r\n.\r\n")
    assert (reader.body(), reader.feed(b"more")) == (b"x\r\n", 0)


@given(text, st.integers(0, 9), st.lists(st.integers(0, 3000)))
def test_the_room_ahead_changes_nothing_of_the_body(data: bytes, ahead: int, cuts: list[int]):
    plainly, behind = ContentReader(keep=True), ContentReader(keep=True, ahead=ahead)
    for reader in (plainly, behind):
        read(reader, data + b"\r\n.\r\n", [])
    assert behind.size == plainly.size
    reader = ContentReader(keep=True, ahead=ahead)
    places = [0, *sorted(cuts), len(data) + 5]
    for start, end in zip(places, places[1:], strict=False):
        reader.feed((data + b"\r\n.\r\n")[start:end])
    body = plain.read(data + b"\r\n.\r\n", 0, 0, False, True)
    assert body is not None
    assert reader.body()[ahead:] == body.body


def test_a_head_goes_where_there_is_room_for_it() -> None:
    reader = ContentReader(ahead=5)
    reader.feed(b"x\r\n.\r\n")
    body = reader.body()
    assert headed(body, 5, [b"abc", b"", b"de"]) is body
    assert body == b"abcdex\r\n"
    assert headed(b"12345x", 5, [b"abc"]) == b"abcx"
    assert headed(b"12345x", 5, [b"abc", b"def"]) == b"abcdefx"
    assert headed(b"x", 0, []) == b"x"
    assert headed(b"1", 5, [b"abcde"]) == b"abcde"


@pytest.mark.parametrize("declared", [0, 100, 10_000, 50_000_000])
def test_memory_follows_what_has_come(declared: int) -> None:
    tracemalloc.start()
    try:
        reader, sent = ContentReader(max_size=50_000_000, hint=declared), 0
        for octets in (1, 100, 3000, 60_000, 400_000, 5_000_000):
            reader.feed(b"x" * 98 + b"\r\n" if octets == 100 else b"y" * octets)
            sent += octets
            size, _ = tracemalloc.get_traced_memory()
            assert size <= 2 * sent + 10_000, (declared, octets, size)
    finally:
        tracemalloc.stop()
