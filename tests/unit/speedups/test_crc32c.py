from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta._speedups.crc32c import crc32c
from tests.reference import crc32c as plain


def test_known_checksums() -> None:
    for data, wanted in [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ]:
        assert crc32c(data, 0, len(data)) == wanted


@given(st.binary(max_size=300), st.data())
def test_checksums_are_those_of_the_twin(data: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, len(data)))
    assert crc32c(data, start, end) == plain.crc32c(data, start, end)
    assert crc32c(memoryview(data), start, end) == plain.crc32c(data, start, end)


def test_what_is_not_there_is_refused() -> None:
    for start, end in [(0, 4), (2, 1), (4, 4)]:
        with pytest.raises(ValueError, match="not in 3 octets"):
            crc32c(b"abc", start, end)
