from __future__ import annotations

from random import Random

import pytest

from mta.model import Kind, Outcome
from mta.resolver import MxAnswer
from mta.routing.mx import Hosts, cut, literal, lowest, order, select

HOSTS = ((10, "a.example"), (10, "b.example"), (20, "c.example"))


def answer(hosts: Hosts = (), status: str = "ok", *, null: bool = False) -> MxAnswer:
    return MxAnswer(hosts, False, null, 0.0, status, "why" if status != "ok" else "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "kind", "code", "enhanced", "text"),
    [
        (answer(null=True), Kind.BOUNCED, 556, "5.1.10", "x.example takes no mail (null MX)"),
        (answer(status="nxdomain"), Kind.BOUNCED, 0, "5.1.2", "why"),
        (answer(status="nodata"), Kind.BOUNCED, 0, "5.4.4", "why"),
        (answer(status="temporary"), Kind.DEFERRED, 0, "4.4.3", "why"),
        (
            answer(((10, "us.example"), (20, "c.example"))),
            Kind.BOUNCED,
            0,
            "5.4.6",
            "mail for x.example loops back to this server",
        ),
    ],
)
def test_what_becomes_of_mail_without_a_server(
    answer: MxAnswer, kind: Kind, code: int, enhanced: str, text: str
) -> None:
    outcome = select("x.example", answer, {"us.example"})
    assert outcome == Outcome(kind, code, enhanced, text, "connect")


@pytest.mark.parametrize(
    ("ours", "left"),
    [
        ("other.example", HOSTS),
        ("c.example", HOSTS[:2]),
        ("b.example", ()),
        ("a.example", ()),
    ],
)
def test_the_list_is_cut_at_our_own_preference(ours: str, left: Hosts) -> None:
    assert cut(HOSTS, {ours}) == left


def test_a_host_named_twice_counts_once_with_its_best_preference() -> None:
    assert lowest([(30, "a"), (20, "b"), (10, "a")]) == ((10, "a"), (20, "b"))


def test_a_hundred_equals_take_turns_at_random() -> None:
    hosts = [(10, f"h{number}") for number in range(100)] + [(5, "best"), (20, "last")]
    random = Random(1)
    firsts = dict.fromkeys((host for _, host in hosts), 0)
    for _ in range(5000):
        ordered = order(hosts, random)
        assert (ordered[0], ordered[-1]) == ((5, "best"), (20, "last"))
        firsts[ordered[1][1]] += 1
    counts = [firsts[f"h{number}"] for number in range(100)]
    assert sum(counts) == 5000
    assert min(counts) >= 20 and max(counts) <= 90  # 50 expected, 7 its deviation


@pytest.mark.parametrize(
    ("domain", "address"),
    [
        ("example.com", None),
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:DB8::1]", "2001:db8::1"),
        ("[ipv6:::1]", "::1"),
    ],
)
def test_address_literals(domain: str, address: str | None) -> None:
    assert literal(domain) == address


@pytest.mark.parametrize(
    "domain", ["[", "[]", "[192.0.2.1", "[192.0.2.300]", "[::1]", "[IPv6:192.0.2.1]", "[x.example]"]
)
def test_what_is_no_literal_bounces(domain: str) -> None:
    outcome = literal(domain)
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.enhanced) == (Kind.BOUNCED, "5.1.2")
