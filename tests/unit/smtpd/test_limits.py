"""Session limits."""

from __future__ import annotations

import pytest

from mta._speedups.verdict import ACCEPTED
from mta.smtpd.limits import TRUSTED, SessionLimits


def test_in_all():
    limits = SessionLimits(2)
    assert limits.enter(limits.network("192.0.2.1")) is ACCEPTED
    assert limits.enter(limits.network("192.0.2.2")) is ACCEPTED
    refusal = limits.enter(limits.network("192.0.2.3"))
    assert refusal.reply().startswith(b"421 4.3.2 ")
    limits.release(limits.network("192.0.2.1"))
    assert limits.enter(limits.network("192.0.2.3")) is ACCEPTED


def test_per_network():
    limits = SessionLimits(0, 1)
    first = limits.network("192.0.2.1")
    assert limits.enter(first) is ACCEPTED
    refusal = limits.enter(first)
    assert refusal.reply().startswith(b"421 4.7.0 ")
    assert limits.enter(limits.network("192.0.2.2")) is ACCEPTED
    limits.release(first)
    assert limits.enter(first) is ACCEPTED


def test_a_refused_session_is_not_counted():
    limits = SessionLimits(0, 1)
    network = limits.network("192.0.2.1")
    limits.enter(network)
    limits.enter(network)
    assert limits.sessions == 1
    limits.release(network)
    assert limits.sessions == 0


def test_no_limit_and_trusted_networks():
    limits = SessionLimits(0, 1)
    assert [limits.enter(TRUSTED) for _ in range(5)] == [ACCEPTED] * 5
    assert [SessionLimits().enter(b"x") for _ in range(5)] == [ACCEPTED] * 5


@pytest.mark.parametrize(
    ("one", "other", "prefixes", "same"),
    [
        ("192.0.2.1", "192.0.2.2", (32, 64), False),
        ("192.0.2.1", "192.0.2.200", (24, 64), True),
        ("192.0.2.1", "192.0.2.3", (31, 64), False),
        ("192.0.2.2", "192.0.2.3", (31, 64), True),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", (32, 64), True),
        ("2001:db8::1", "2001:db8:0:1::1", (32, 64), False),
        ("2001:db8::1", "2001:db8:0:1::1", (32, 60), True),
        ("fe80::1%eth0", "fe80::2", (32, 64), True),
    ],
)
def test_networks(one, other, prefixes, same):
    limits = SessionLimits(prefix4=prefixes[0], prefix6=prefixes[1])
    assert (limits.network(one) == limits.network(other)) is same


def test_prefix_lengths_are_checked():
    with pytest.raises(ValueError, match="/33"):
        SessionLimits(prefix4=33)
