from __future__ import annotations

import random

import pytest

from mta.queues.retry import RetryPolicy, exponential, next_attempt_us

NOW, FAR, SECOND = 1_767_225_600_000_000, 2**62, 1_000_000


def delays(policy: RetryPolicy, count: int, unit: float = 0.5) -> list[float]:
    found = [next_attempt_us(policy, n, NOW, FAR, lambda: unit) for n in range(1, count + 1)]
    return [(at - NOW) / SECOND for at in found if at is not None]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy((60.0, 300.0, 1200.0)), [60, 300, 1200, 1200, 1200]),
        (RetryPolicy((0.0, 0.2, 5.0)), [1, 1, 5, 5, 5]),
        (RetryPolicy(exponential(10, 3, 200)), [10, 30, 90, 200, 200]),
        (RetryPolicy(exponential(10, 1, 10)), [10] * 5),
    ],
)
def test_delays(policy: RetryPolicy, expected: list[float]) -> None:
    assert delays(policy, 5) == expected


def test_an_exponential_schedule_never_overflows() -> None:
    policy = RetryPolicy(exponential(1, 10, 3600))
    assert next_attempt_us(policy, 100_000, NOW, FAR, lambda: 0.5) == NOW + 3600 * SECOND


@pytest.mark.parametrize(("unit", "expected"), [(0.0, 75.0), (0.5, 100.0), (0.999999, 125.0)])
def test_jitter_spreads_to_both_sides(unit: float, expected: float) -> None:
    assert delays(RetryPolicy((100.0,), jitter=0.25), 1, unit) == pytest.approx([expected])


def test_jitter_stays_within_its_part() -> None:
    policy, source = RetryPolicy((100.0,), jitter=0.1), random.Random(1)
    found = [next_attempt_us(policy, 1, NOW, FAR, source.random) for _ in range(1000)]
    assert all(at is not None and 90 <= (at - NOW) / SECOND <= 110 for at in found)
    assert len(set(found)) > 900


def test_the_last_delay_is_cut_off_at_the_expiry() -> None:
    policy = RetryPolicy((3600.0,), jitter=0.0)
    assert next_attempt_us(policy, 1, NOW, NOW + 5 * SECOND, random.random) == NOW + 5 * SECOND
    assert next_attempt_us(policy, 1, NOW, NOW, random.random) is None
    assert next_attempt_us(policy, 1, NOW, NOW - 1, random.random) is None


def test_max_age_gives_the_expiry() -> None:
    assert RetryPolicy(max_age=60.0).expires_us(NOW) == NOW + 60 * SECOND


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"schedule": ()}, "schedule"),
        ({"schedule": (60.0, -1.0)}, "schedule"),
        ({"jitter": 1.0}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"max_age": 0.0}, "max_age"),
    ],
)
def test_what_is_no_policy_is_refused(arguments: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RetryPolicy(**arguments)


@pytest.mark.parametrize("arguments", [(0, 2, 10), (20, 2, 10), (1, 0.5, 10)])
def test_what_does_not_grow_is_refused(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="a schedule grows"):
        exponential(*arguments)
