"""GCRA against its twin, and what it promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta._speedups.gcra import LocalBucket, gcra
from tests.reference.gcra import TokenBucket, most_in_a_window

steps = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 4)), max_size=80)


@given(st.integers(1, 3000), st.integers(4, 20), steps)
def test_bucket_grants_what_its_twin_grants(interval: int, burst: int, asked: list) -> None:
    ours, twin, tat, now = LocalBucket(interval, burst), TokenBucket(interval, burst), 0, 0
    for pause, n in asked:
        now += pause
        wait, tat = gcra(tat, now, interval, burst, n)
        assert ours.take(now, n) == wait == twin.take(now, n)


@given(st.integers(1, 3000), st.integers(4, 20), steps, st.sets(st.integers(0, 79)))
def test_no_window_has_more_than_rate_times_t_plus_burst(
    interval: int, burst: int, asked: list, returned: set[int]
) -> None:
    bucket, now, grants = LocalBucket(interval, burst), 0, []
    for i, (pause, n) in enumerate(asked):
        now += pause
        if bucket.take(now, n) == 0:
            if i in returned:
                bucket.give_back(n)
            else:
                grants.append((now, n))
    assert most_in_a_window(grants, interval) <= burst


@given(st.integers(1, 3000), st.integers(1, 20), st.integers(1, 20))
def test_what_is_told_to_wait_may_go_then_and_not_before(
    interval: int, burst: int, taken: int
) -> None:
    bucket = LocalBucket(interval, burst)
    waits = [bucket.take(1000) for _ in range(burst + taken)]
    wait = waits[-1]
    assert waits[:burst] == [0] * burst and wait > 0
    assert bucket.take(1000 + wait - 1) == 1
    assert bucket.take(1000 + wait) == 0
