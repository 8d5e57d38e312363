from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.resolver import wire
from mta.testing.zones import ZoneExchange

LABEL = st.text("abcXYZ019-_", min_size=1, max_size=12)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)
TTL = st.integers(0, 2**31 - 1)


def record(owner: str, ttl: int, kind: str, *values: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(f"{owner}.", ttl, "IN", kind, *values)


def answer(name: str, kind: str, *rrsets: dns.rrset.RRset) -> dns.message.Message:
    response = dns.message.make_response(dns.message.make_query(name, kind))
    response.answer.extend(rrsets)
    return response


def read(response: dns.message.Message) -> wire.Reply:
    question = response.question[0]
    section = wire.question(question.name.to_text(omit_final_dot=True), question.rdtype)
    return wire.read(response.to_wire(), section)


@given(NAME, st.dictionaries(NAME, st.integers(0, 65535), min_size=1, max_size=8), TTL)
def test_mx_as_dnspython_reads_it(name: str, hosts: dict[str, int], ttl: int) -> None:
    values = [f"{preference} {host}." for host, preference in hosts.items()]
    response = answer(name, "MX", record(name, ttl, "MX", *values))
    oracle = dns.message.from_wire(response.to_wire()).answer[0]
    reply = read(response)
    assert (reply.name, reply.ttl) == (name.lower(), oracle.ttl)
    assert set(reply.values) == {
        (rdata.preference, rdata.exchange.to_text(omit_final_dot=True).lower()) for rdata in oracle
    }


@given(st.sets(st.ip_addresses(), min_size=1, max_size=9), TTL)
def test_addresses_as_dnspython_reads_them(addresses: set[object], ttl: int) -> None:
    for kind, version in (("A", 4), ("AAAA", 6)):
        texts = [str(address) for address in addresses if getattr(address, "version") == version]  # noqa: B009
        if texts:
            reply = read(answer("h.example", kind, record("h.example", ttl, kind, *texts)))
            oracle = record("h.example", ttl, kind, *texts)
            assert {value for _, value in reply.values} == {rdata.address for rdata in oracle}


def test_a_ttl_beyond_31_bits_is_none() -> None:
    """RFC 2181 8."""
    response = answer("h.example", "A", record("h.example", 0x01020304, "A", "192.0.2.1"))
    octets, section = response.to_wire(), wire.question("h.example", dns.rdatatype.A)
    assert wire.read(octets, section).ttl == 0x01020304
    assert wire.read(octets.replace(b"\1\2\3\4", b"\x81\2\3\4"), section).ttl == 0


def test_a_chain_is_followed_in_any_order_and_the_least_ttl_counts() -> None:
    reply = read(
        answer(
            "a.example",
            "A",
            record("c.example", 300, "A", "192.0.2.1"),
            record("b.example", 20, "CNAME", "c.example."),
            record("A.Example", 100, "CNAME", "B.EXAMPLE."),
            record("evil.example", 1, "A", "192.0.2.66"),
        )
    )
    assert reply == wire.Reply(0, False, ((0, "192.0.2.1"),), "c.example", 20)


def test_a_chain_without_its_end_says_where_to_go_on() -> None:
    reply = read(answer("a.example", "A", record("a.example", 100, "CNAME", "b.example.")))
    assert (reply.values, reply.name, reply.ttl, reply.negative) == ((), "b.example", 100, False)


def test_a_loop_is_noticed() -> None:
    chain = [record(f"{a}.example", 9, "CNAME", f"{b}.example.") for a, b in ("ab", "ba")]
    assert read(answer("a.example", "MX", *chain)).looped


@pytest.mark.parametrize(("soa_ttl", "minimum", "ttl"), [(60, 900, 60), (900, 60, 60)])
def test_a_negative_answer_holds_by_its_soa(soa_ttl: int, minimum: int, ttl: int) -> None:
    response = answer("a.example", "MX")
    soa = f"ns.example. root.example. 1 2 3 4 {minimum}"
    response.authority += [
        record("example", 5, "NS", "ns.example."),
        record("example", soa_ttl, "SOA", soa),
    ]
    reply = read(response)
    assert (reply.negative, reply.ttl) == (True, ttl)


def test_an_absurd_ttl_is_zero() -> None:
    raw = bytearray(answer("a.example", "A", record("a.example", 7, "A", "192.0.2.1")).to_wire())
    place = raw.index(struct.pack("!I", 7))
    raw[place : place + 4] = b"\xff\xff\xff\xff"
    assert wire.read(bytes(raw), wire.question("a.example", wire.A)).ttl == 0


def test_truncation_is_told_and_nothing_else_is_read() -> None:
    response = answer("a.example", "A", record("a.example", 7, "A", "192.0.2.1"))
    response.flags |= dns.flags.TC
    assert read(response) == wire.Reply(0, True, (), "a.example", 0)


def test_odd_labels_match_no_host() -> None:
    reply = read(answer("a.example", "MX", record("a.example", 7, "MX", r"10 a\.b\032c.example.")))
    assert reply.values == ((10, r"a\046b\032c.example"),)


def test_the_query_is_what_dnspython_would_ask() -> None:
    section = wire.question("mail.example.com", wire.MX)
    asked = dns.message.from_wire(wire.query(4711, section))
    assert (asked.id, asked.flags, asked.edns, asked.payload) == (4711, dns.flags.RD, 0, 1232)
    assert asked.question[0].to_text() == "mail.example.com. IN MX"


def whole() -> tuple[bytes, bytes]:
    zones = ZoneExchange(
        {"x.example": {"CNAME": "y.example"}, "y.example": {"MX": ["1 a.example", "2 b.a.example"]}}
    )
    return zones.response("x.example", wire.MX).to_wire(), wire.question("x.example", wire.MX)


def test_a_cut_answer_is_refused() -> None:
    raw, section = whole()
    assert tuple(sorted(wire.read(raw, section).values)) == ((1, "a.example"), (2, "b.a.example"))
    for length in range(len(raw)):
        with pytest.raises(wire.WireError):
            wire.read(raw[:length], section)


@pytest.mark.parametrize(
    ("place", "octet"),
    [(2, 0x01), (4, 0x01), (13, ord("z"))],
    ids=["a query", "many questions", "another name"],
)
def test_what_answers_another_question_is_refused(place: int, octet: int) -> None:
    raw, section = whole()
    raw = raw[:place] + bytes([octet]) + raw[place + 1 :]
    assert not wire.answers(raw, section)
    with pytest.raises(wire.WireError, match="not the answer"):
        wire.read(raw, section)


def test_a_pointer_loop_ends() -> None:
    section = wire.question("a", wire.A)
    raw = struct.pack("!HHHHHH", 1, 0x8000, 1, 1, 0, 0) + section + b"\xc0\x13\xc0\x13"
    with pytest.raises(wire.WireError):
        wire.read(raw + bytes(20), section)


@given(st.binary(max_size=80), st.integers(0, 200))
def test_garbage_is_a_reply_or_a_wire_error(garbage: bytes, place: int) -> None:
    raw, section = whole()
    start = 12 + place % (len(raw) - 12)
    try:
        reply = wire.read(raw[:start] + garbage + raw[start + len(garbage) :], section)
    except wire.WireError:
        return
    assert isinstance(reply, wire.Reply)
