"""The relay rule."""

from __future__ import annotations

import pytest

from mta._speedups.verdict import ACCEPTED
from mta.errors import ConfigError
from mta.reception.policy import CACHE, UNIX, Clients, Policy


def policy(**rule) -> Policy:
    return Policy("mx.example.net", **rule)


@pytest.mark.parametrize(
    ("rule", "address", "may"),
    [
        ({}, "127.0.0.1", True),
        ({}, "127.9.9.9", True),
        ({}, "::1", True),
        ({}, "::ffff:127.0.0.1", True),
        ({}, UNIX, True),
        ({}, "192.0.2.1", False),
        ({}, "fe80::1%eth0", False),
        ({"relay_from": ["192.0.2.0/24"]}, "192.0.2.1", True),
        ({"relay_from": ["192.0.2.0/24"]}, "192.0.3.1", False),
        ({"relay_from": ["192.0.2.0/24"]}, "127.0.0.1", False),
        ({"relay_from": ["192.0.2.0/24"]}, UNIX, False),
        ({"relay_from": ["unix"]}, UNIX, True),
        ({"relay_from": ["unix"]}, "127.0.0.1", False),
        ({"relay_from": ["2001:db8::/32", "192.0.2.7"]}, "2001:db8::9", True),
        ({"relay_from": ["2001:db8::/32", "192.0.2.7"]}, "192.0.2.7", True),
        ({"relay_from": []}, "127.0.0.1", False),
        ({"relay_from": ()}, "::1", False),
        ({"relay_from": []}, UNIX, False),
        ({"relay_from": None}, "127.0.0.1", True),
        ({"relay_from": [], "relay_domains": ["example.com"]}, "127.0.0.1", False),
        ({"relay_domains": ["example.com"]}, "127.0.0.1", True),
        ({"relay_domains": ["example.com"]}, "192.0.2.1", False),
    ],
)
def test_who_may_relay(rule, address, may):
    made = policy(**rule)
    assert made.may_relay(address) is may
    assert made.may_relay(address) is may


def test_remembered_clients_are_bounded():
    clients = Clients(["192.0.2.0/24"])
    for number in range(CACHE + 10):
        assert f"10.0.{number // 256}.{number % 256}" not in clients
    assert len(clients._known) <= CACHE


@pytest.mark.parametrize(
    ("domain", "taken"),
    [
        ("example.com", True),
        ("EXAMPLE.com", True),
        ("a.example.com", False),
        ("a.example.org", True),
        ("a.b.example.org", True),
        ("example.org", False),
        ("example.org.evil.net", False),
        ("", False),
    ],
)
def test_relay_domains(domain, taken):
    assert policy(relay_domains=["Example.com", "*.example.org"]).takes(domain) is taken


def test_networks_are_checked():
    with pytest.raises(ConfigError, match="192.0.2.1/24"):
        policy(relay_from=["192.0.2.1/24"])


def test_a_stranger_is_not_told_our_settings():
    for rule in ({}, {"relay_from": []}, {"relay_from": ["10.0.0.0/8"]}):
        refusal = policy(**rule).recipient("a@example.com", False)
        assert refusal.reply() == b"554 5.7.1 <a@example.com>: relaying denied\r\n"


def test_recipients_that_pass():
    made = policy(relay_domains=["example.com"])
    assert made.recipient("a@Example.COM", False) is ACCEPTED
    assert made.recipient("a@example.org", True) is ACCEPTED
    assert made.recipient("Postmaster@mx.example.net", False) is ACCEPTED


def test_a_quoted_at_sign_is_no_domain():
    made = policy(relay_domains=["example.com"])
    assert made.recipient('"x@example.com"@example.org', False).refuses


def test_complete():
    made = policy()
    assert made.complete("a@b") == "a@b"
    assert made.complete("Postmaster") == "Postmaster@mx.example.net"
    assert made.complete("a") is None
    assert made.complete("a@") is None


def test_sender():
    made = policy()
    assert made.sender("") is ACCEPTED
    assert made.sender("a@b") is ACCEPTED
    for bad in ("a", "a@"):
        refusal = made.sender(bad)
        assert refusal.reply().startswith(b"501 5.1.7 ")
