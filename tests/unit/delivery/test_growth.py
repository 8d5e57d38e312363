"""How many connections, from what waits and how long messages take."""

from __future__ import annotations

import pytest

from mta.delivery.growth import EPOCH, FASTEST, FIRST, SAMPLES, SLOWER, Growth


def known(service: float) -> Growth:
    """A pool whose messages take so many seconds."""
    growth = Growth()
    took(growth, service, now=100.0)
    return growth


def took(growth: Growth, service: float, now: float, messages: int = SAMPLES) -> None:
    growth.messages += messages
    growth.spent_us += round(messages * service * 1e6)
    growth.learn(now)


def grown(growth: Growth, waiting: int, alive: int, opening: int = 0, still: float = 0.0) -> int:
    """How many are being opened when no more is wanted."""
    while growth.wanted(waiting, alive, opening, still):
        opening += 1
    return opening


@pytest.mark.parametrize(
    ("service", "waiting", "enough"),
    [(0.001, 50, 1), (0.001, 51, 2), (0.001, 1000, 20), (0.05, 7, 7), (1.0, 1, 20), (0.2, 90, 360)],
)
def test_what_waits_is_to_leave_within_patience(service: float, waiting: int, enough: int) -> None:
    assert known(service).enough(waiting, 0.0) == enough


def test_an_unknown_site_gets_one_connection_to_begin_with() -> None:
    growth = Growth()
    assert grown(growth, waiting=1000, alive=0) == 1
    assert not growth.wanted(1000, 0, 1, 0.0)
    assert grown(growth, waiting=1000, alive=8) == 8
    assert growth.enough(17, still=60.0) == 3, "one for eight that wait"


def test_connections_double_and_are_never_more_than_the_mail() -> None:
    slow = known(1.0)
    assert grown(slow, waiting=1000, alive=0) == FIRST
    assert grown(slow, waiting=1000, alive=100) == 100
    assert grown(slow, waiting=3, alive=40) == 3
    assert grown(slow, waiting=3, alive=60) == 0, "60 take three in the twentieth of a second"


def test_a_busy_machine_does_not_open_what_brings_nothing() -> None:
    growth = known(0.001)
    for second in range(1, 10):
        took(growth, 0.5, now=100.0 + second)
    assert growth.service > 0.4
    assert growth.enough(1000, 0.0) == pytest.approx(1000 * 0.001 * SLOWER / 0.05)


def test_a_receiver_that_has_become_slow_gets_more_after_two_epochs() -> None:
    growth = known(0.001)
    for step in range(1, 4):
        took(growth, 0.5, now=100.0 + step * (EPOCH + 1))
    assert growth.least == pytest.approx(0.5)
    assert growth.enough(10, 0.0) > 80


def test_silence_counts_as_a_slow_message() -> None:
    growth = known(0.1)
    assert growth.enough(10, still=0.0) == growth.enough(10, still=0.05) == 20
    assert growth.enough(10, still=0.2) == 40
    assert growth.enough(10, still=100.0) == 60, "but for no more than SLOWER times the least"


def test_one_more_is_opened_where_all_are_stuck() -> None:
    growth = known(0.001)
    assert grown(growth, waiting=1, alive=30, still=0.9) == 0
    assert grown(growth, waiting=1, alive=30, still=1.1) == 1
    assert grown(growth, waiting=5, alive=30, opening=1, still=1.1) == 1


def test_few_messages_make_no_mean_before_a_second() -> None:
    growth = known(0.001)
    took(growth, 1.0, now=100.5, messages=SAMPLES - 1)
    assert growth.service == pytest.approx(0.001)
    growth.learn(101.1)
    assert growth.service > 0.4


def test_messages_that_took_no_time_by_the_clock_still_want_a_connection() -> None:
    growth = known(0.0)
    assert growth.service == growth.least == FASTEST
    assert grown(growth, waiting=1, alive=0) == 1
    assert growth.enough(1000, still=0.0) == 20
