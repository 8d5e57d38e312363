from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from mta._speedups.ids import packed
from tests.reference import ids as plain

bits = [st.integers(0, (1 << size) - 1) for size in (48, 12, 12, 50)]


@given(*bits)
def test_an_id_is_that_of_the_twin(ms: int, counter: int, shard: int, noise: int) -> None:
    id = packed(ms, counter, shard, noise)
    assert id == plain.packed(ms, counter, shard, noise)
    assert UUID(bytes=id).version == 7
