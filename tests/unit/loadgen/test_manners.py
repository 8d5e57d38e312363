"""What each manner answers, as tables."""

from __future__ import annotations

import pytest

from mta.errors import ConfigError
from mta.loadgen.manners import DEFAULTS, Judge, Judgement, Judges, Stage, parse


def replies(judge: Judge, *calls: tuple[str, int, float]) -> list[str]:
    found = [judge.recipient("s@x", who, taken, now).reply for who, taken, now in calls]
    return [(reply or b"250")[:3].decode() for reply in found]


def test_greylist_by_sender_and_recipient() -> None:
    judge = Judge(parse("greylist:3"))
    calls = [("a@x", 0, 10.0), ("a@x", 0, 12.9), ("b@x", 0, 13.0), ("a@x", 0, 13.0), ("a@x", 0, 99)]
    assert replies(judge, *calls) == ["450", "450", "450", "250", "250"]
    assert judge.recipient("other@x", "a@x", 0, 99.0).reply is not None


def test_throttle_per_connection_and_second() -> None:
    judge = Judge(parse("throttle:2,3"))
    calls = [("a@x", 0, 5.1), ("a@x", 1, 5.2), ("a@x", 2, 5.3), ("a@x", 0, 5.4), ("a@x", 0, 5.9)]
    assert replies(judge, *calls) == ["250", "250", "421", "250", "451"]
    assert replies(judge, ("a@x", 0, 6.0)) == ["250"]


def test_unknown_users() -> None:
    judge = Judge(parse("unknown"))
    assert replies(judge, ("unknown7@x", 0, 0), ("Unknown@x", 0, 0), ("known@x", 0, 0)) == [
        "550",
        "550",
        "250",
    ]


def test_drops_take_turns_and_most_come_before_the_content() -> None:
    judge = Judge(parse("drop:3"))
    cuts = [judge.recipient("s@x", "r@x", 0, 0.0).cut for _ in range(15)]
    assert cuts[:2] == [Stage.NEVER, Stage.NEVER]
    assert cuts[2::3] == [Stage.RCPT, Stage.DATA, Stage.RCPT, Stage.DOT, Stage.RCPT]


def test_slow_and_defer() -> None:
    assert Judge(parse("slow:0.5")).recipient("s", "r@x", 0, 0.0) == Judgement(delay=0.5)
    assert replies(Judge(parse("defer")), ("r@x", 0, 0.0)) == ["451"]


@pytest.mark.parametrize("name", DEFAULTS)
def test_text_form_comes_back(name: str) -> None:
    manner = parse(name)
    assert manner.values == DEFAULTS[name]
    assert parse(str(manner)) == manner


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("grelist", "known are accept"),
        ("greylist:soon", "as greylist:3"),
        ("greylist:-1", "as greylist:3"),
        ("throttle:1,2,3", "as throttle:50,200"),
        ("accept:1", "as accept"),
    ],
)
def test_bad_manners(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(text)


def test_longest_suffix_wins() -> None:
    by_suffix = {"example": Judge(parse("defer")), "a.example": Judge(parse("unknown"))}
    judges = Judges(parse("accept"), by_suffix)
    names = [judges.judge(f"r@{d}").manner.name for d in ("B.a.Example", "b.example", "other.test")]
    assert names == ["unknown", "defer", "accept"]
    assert judges.judge("r@x.a.example") is judges.judge("q@a.example")
