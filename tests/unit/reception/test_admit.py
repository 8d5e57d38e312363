"""Who has a say in whether mail is taken: the order, late answers, and what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mta._speedups.verdict import ACCEPTED, Reason, Verdict, given
from mta.reception.admit import Admission, Answer, Member, Pending, final
from mta.reception.client import Client
from mta.smtp.replies import FAILED

FINE = Verdict(250, "2.1.0", "Fine")
BETTER = Verdict(250, "2.1.0", "Better")
NO = Verdict(550, "5.7.1", "No", "mine")
LATER = Verdict(450, "4.7.1", "Later", "mine")


class Says(Member):
    """Says this to MAIL, and notes that it was asked."""

    def __init__(self, verdict: Verdict, asked: list[Member]) -> None:
        self.verdict, self.asked = verdict, asked

    def mail(self, client: Client, params: Any) -> Verdict | Awaitable[Verdict]:
        self.asked.append(self)
        return self.verdict


class SaysLater(Says):
    """The same a turn of the loop later."""

    def mail(self, client: Client, params: Any) -> Awaitable[Verdict]:
        self.asked.append(self)
        return self.later()

    async def later(self) -> Verdict:
        await asyncio.sleep(0)
        return self.verdict


class Fails(SaysLater):
    async def later(self) -> Verdict:
        raise RuntimeError("broken")


CLIENT = Client("192.0.2.1", "s-1")


def ask(*kinds: tuple[Callable[..., Member], Verdict]) -> tuple[Answer, int]:
    """The answer of such members, and how many of them were asked so far."""
    asked: list[Member] = []
    answer = Admission([kind(verdict, asked) for kind, verdict in kinds]).mail(CLIENT, None)
    return answer, len(asked)


@pytest.mark.parametrize(
    ("verdicts", "said", "asked"),
    [
        ([], ACCEPTED, 0),
        ([ACCEPTED, ACCEPTED], ACCEPTED, 2),
        ([ACCEPTED, NO, ACCEPTED], NO, 2),
        ([FINE, ACCEPTED], FINE, 2),
        ([FINE, BETTER, ACCEPTED], BETTER, 3),
        ([FINE, LATER, BETTER], LATER, 2),
    ],
)
def test_members_are_asked_in_order_until_one_refuses(
    verdicts: list[Verdict], said: Verdict, asked: int
) -> None:
    assert ask(*((Says, verdict) for verdict in verdicts)) == (said, asked)


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([ACCEPTED, ACCEPTED, ACCEPTED], ACCEPTED),
        ([FINE, ACCEPTED, ACCEPTED], FINE),
        ([ACCEPTED, NO, ACCEPTED], NO),
        ([FINE, BETTER, LATER], LATER),
    ],
)
def test_one_that_answers_later_keeps_its_place(verdicts: list[Verdict], said: Verdict) -> None:
    for late in range(len(verdicts)):
        kinds = [SaysLater if place == late else Says for place in range(len(verdicts))]
        answer, asked = ask(*zip(kinds, verdicts, strict=True))
        if isinstance(answer, Pending):
            assert asked == late + 1
        assert asyncio.run(final(answer)) is said
    answer, asked = ask(*((SaysLater, verdict) for verdict in verdicts))
    assert isinstance(answer, Pending) and asked == 1
    assert asyncio.run(final(answer)) is said


def test_what_fails_later_defers(capsys: pytest.CaptureFixture[str]) -> None:
    answer, _ = ask((Fails, ACCEPTED), (Says, ACCEPTED))
    assert asyncio.run(final(answer)) is FAILED
    assert "RuntimeError: broken" in capsys.readouterr().err


def test_what_follows_gets_the_verdict_before_whoever_waits() -> None:
    answer, _ = ask((SaysLater, NO))
    assert isinstance(answer, Pending)
    told: list[Verdict] = []
    answer.then(told.append)
    assert told == [] and asyncio.run(final(answer)) is NO and told == [NO]


def test_an_answer_that_nobody_wants_never_begins() -> None:
    answer, _ = ask((SaysLater, NO))  # else a warning: a coroutine was never awaited
    assert isinstance(answer, Pending)
    answer.close()


def test_only_those_with_a_say_in_a_step_are_asked() -> None:
    class Nothing(Member):
        pass

    admission = Admission([Nothing()])
    assert admission.mail(CLIENT, None) is ACCEPTED
    assert admission.rcpt(CLIENT, "a@b", None) is ACCEPTED
    assert admission.data(CLIENT) is ACCEPTED
    assert not admission.reads_content and len(admission.members) == 1


def test_a_verdict_is_a_value() -> None:
    assert Verdict(550, "5.7.1", "No", "mine") == NO != LATER
    assert hash(Verdict(550, "5.7.1", "No", "mine")) == hash(NO)
    assert (NO.refuses, NO.temporary, LATER.temporary, FINE.refuses) == (True, False, True, False)
    assert NO.reply() == b"550 5.7.1 No\r\n"
    assert Verdict(550, "", "a\nb", Reason.CONTENT).line == "a b"
    with pytest.raises(ValueError, match="RFC 2034"):
        Verdict(550, "4.7.1", "No")


@pytest.mark.parametrize(
    ("reply", "code", "enhanced", "text"),
    [
        (b"550 5.1.1 No\r\n", 550, "5.1.1", "No"),
        (b"554-5.7.1 One\r\n554 5.7.1 two\r\n", 554, "5.7.1", "One\ntwo"),
        (b"500 Plain\r\n", 500, "", "Plain"),
        (b"250 4.1.1 of ours\r\n", 250, "", "4.1.1 of ours"),
        (b"250-mx.example\r\n250 SIZE\r\n", 250, "", "mx.example\nSIZE"),
    ],
)
def test_a_handler_s_reply_is_kept_as_it_is(
    reply: bytes, code: int, enhanced: str, text: str
) -> None:
    verdict = given(reply, Reason.HANDLER)
    assert (verdict.code, verdict.enhanced, verdict.text) == (code, enhanced, text)
    assert verdict.reply() == reply and verdict.reason == "handler"
