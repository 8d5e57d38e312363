from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta._speedups import command
from tests.reference import command as plain

letters = [
    b"<", b">", b"@", b".", b",", b":", b'"', b"\\", b"[", b"]", b"a", b"b1", b"-", b"_", b" ",
    b"postmaster", b"IPv6:", b"::1", b"192.0.2.1", b"x" * 63, b"y." * 126, b"\0", b"\xe9", b"a@b>",
]  # fmt: skip
path_text = st.lists(st.sampled_from(letters), max_size=9).map(b"".join)
mailbox = st.builds(
    lambda parts: b"<" + b"".join(parts) + b">", st.lists(st.sampled_from(letters), max_size=6)
)
param_text = st.lists(st.sampled_from([b" ", b"A", b"size", b"=", b"1", b"-", b"\x7f"])).map(
    b"".join
)


def found(text: bytes, recipient: bool) -> tuple[str, int] | None:
    try:
        return command.path(text, recipient)
    except ValueError:
        return None


@given(path_text | mailbox, st.booleans())
def test_paths_are_those_of_the_twin(text: bytes, recipient: bool) -> None:
    assert found(text, recipient) == plain.path(text, recipient)


@given(param_text)
def test_parameters_are_those_of_the_twin(text: bytes) -> None:
    try:
        got = command.params(text)
    except ValueError:
        got = None
    assert got == plain.params(text)


@given(st.sampled_from(plain.VERBS + plain.OTHER + plain.HTTP), st.binary(max_size=4))
def test_verbs_are_those_of_the_twin(verb: str, rest: bytes) -> None:
    for line in (verb.encode(), verb.lower().encode() + rest, verb.title().encode() + b"  " + rest):
        assert command.verb(line) == plain.verb(line)


@given(st.binary(max_size=300))
def test_names_are_those_of_the_twin(text: bytes) -> None:
    assert command.name_ok(text) == bool(plain.NAME.match(text))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (b"<>", ""),
        (b"<a@b>", "a@b"),
        (b"<@x.example,@y.example:a.b@c.example>", "a.b@c.example"),
        (b'<"a b\\"@c"@d>', '"a b\\"@c"@d'),
        (b'<""@d>', '""@d'),
        (b"<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        (b"<a@[ipv6:2001:db8::1]>", "a@[ipv6:2001:db8::1]"),
        (b"<a+b=c/d@under_score.example>", "a+b=c/d@under_score.example"),
    ],
)
def test_good_paths(text: bytes, address: str) -> None:
    assert command.path(text) == (address, len(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a@b", "angle brackets"),
        (b"<a@b", "closing"),
        (b"<", "closing"),
        (b"<a@b c>", "closing"),
        (b"<@b>", "before the @"),
        (b"<@b:>", "domain is missing"),
        (b"<@b,c:a@d>", "source route"),
        (b"<a>", "domain is missing"),
        (b"<a@>", "domain is missing"),
        (b"<a b@c>", "unquoted"),
        (b"<a..b@c>", "a dot"),
        (b"<.a@c>", "a dot"),
        (b"<a.@c>", "a dot"),
        (b'<"a@c>', "quoted"),
        (b'<"a"b@c>', "domain is missing"),
        (b"<a@b..c>", "label"),
        (b"<a@b.>", "label"),
        (b"<a@-b>", "hyphen"),
        (b"<a@b-.c>", "hyphen"),
        (b"<a@" + b"x" * 64 + b">", "label"),
        (b"<a@" + b"x." * 127 + b"yz>", "255"),
        (b"<a@[192.0.2.256]>", "literal"),
        (b"<a@[IPv6:1.2.3.4]>", "literal"),
        (b"<a@[192.0.2.1>", "literal"),
        (b"<" + b"x" * 320 + b"@y>", "320"),
        (b"<a@b@c>", "closing"),
    ],
)
def test_bad_paths_are_told_precisely(text: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        command.path(text)


def test_only_a_recipient_may_be_postmaster_alone() -> None:
    assert command.path(b"<PostMaster> X", True) == ("PostMaster", 12)
    for text, recipient in ((b"<postmaster>", False), (b"<>", True)):
        with pytest.raises(ValueError):
            command.path(text, recipient)
