from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta._speedups.verdict import Verdict
from mta.smtp import replies
from mta.smtp.replies import reply
from tests.reference import verdict as twin

LINES = re.compile(rb"(?:550-5\.1\.1 [ -~]*\r\n)*550 5\.1\.1 [ -~]*\r\n")


@given(st.text(max_size=1500), st.sampled_from(["5.1.1", ""]))
def test_a_reply_is_what_plain_python_makes(text: str, enhanced: str) -> None:
    verdict = Verdict(550, enhanced, text)
    assert verdict.reply() == reply(550, enhanced, text) == twin.rendered(550, enhanced, text)


@given(st.text(max_size=2000))
def test_whatever_the_text_a_reply_is_well_formed(text: str) -> None:
    wire = reply(550, "5.1.1", text)
    assert LINES.fullmatch(wire)
    assert all(len(line) <= 512 for line in wire.splitlines(keepends=True))


def test_lines_and_folding() -> None:
    assert reply(250, "", "Ok") == b"250 Ok\r\n"
    assert reply(250, "2.0.0", "a\nb\r\nc") == b"250-2.0.0 a\r\n250-2.0.0 b\r\n250 2.0.0 c\r\n"
    first, second, _ = reply(550, "5.7.1", "word " * 150).split(b"\r\n")
    assert len(first) > 490 and (first + b" " + second).count(b"word") == 150


def test_nothing_gets_lost_of_a_long_word() -> None:
    assert reply(550, "5.7.1", "x" * 1200).count(b"x") == 1200


@pytest.mark.parametrize(("code", "enhanced"), [(99, ""), (600, ""), (550, "4.1.1")])
def test_what_is_no_reply_is_refused(code: int, enhanced: str) -> None:
    with pytest.raises(ValueError):
        reply(code, enhanced, "x")


def test_the_named_replies_carry_their_codes() -> None:
    named = [value for value in vars(replies).values() if isinstance(value, Verdict)]
    assert named and all(re.match(rb"[45]\d\d [45]\.\d\.\d+ ", one.reply()) for one in named)
    assert all(one.refuses and one.reason for one in named)
