"""What the dialogs cannot show: buffers, misuse, deadlines, the table."""

from __future__ import annotations

import pytest

from mta._speedups.client_words import EVENT_NAMES, KEYWORDS
from mta.model import Flag
from mta.smtp.client import (
    KIND_NAMES,
    STATE_NAMES,
    Capability,
    ClientCore,
    ClientOptions,
    Event,
    LocalProtocolError,
    Transaction,
    transitions,
)

EHLO = b"250-mx\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100\r\n"


def opened(ehlo: bytes = EHLO, **options: bool) -> ClientCore:
    core = ClientCore(ClientOptions("me", **options))
    core.feed(b"220 hi\r\n" + ehlo)
    core.output()
    assert core.next_event() == Event.READY
    return core


def tx(body: bytes = b"x\r\n", flags: int = 0) -> Transaction:
    return Transaction("a@x", ["b@y"], body, flags)


def kind(core: ClientCore) -> str:
    return KIND_NAMES[core.deadline_kind]


def test_content_is_not_copied_unless_it_must_be_stuffed() -> None:
    body = b"a line\r\n" * 5
    core = opened()
    core.submit(tx(body))
    core.output()
    core.feed(b"250 a\r\n250 b\r\n354 c\r\n")
    core.send_content(tx(b".\r\n", Flag.DOT_LINES))
    first, second = core.output()
    assert first is body
    assert second == b".\r\nMAIL FROM:<a@x> SIZE=3\r\nRCPT TO:<b@y>\r\nDATA\r\n"
    core.feed(b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n")
    core.send_content()
    assert core.output() == [b"..\r\n", b".\r\n"]


@pytest.mark.parametrize(
    ("body", "wire", "size"),
    [
        (b"", b".\r\n", 0),
        (b"x", b"x\r\n.\r\n", 3),
        (b"x\r\n", b"x\r\n.\r\n", 3),
        (b"x\n", b"x\n\r\n.\r\n", 4),
        (b"\n", b"\n\r\n.\r\n", 3),
        (b"x\r", b"x\r\r\n.\r\n", 4),
        (b".", b"..\r\n.\r\n", 3),
    ],
)
def test_content_ends_with_a_line_and_the_dot(body: bytes, wire: bytes, size: int) -> None:
    core = opened()
    core.submit(tx(body, Flag.DOT_LINES))
    assert b" SIZE=%d\r\n" % size in core.output()[0]
    core.feed(b"250 a\r\n250 b\r\n354 c\r\n")
    core.send_content()
    assert b"".join(core.output()) == wire


def test_flags_are_those_of_the_model() -> None:
    core = opened()
    core.submit(tx(b"\xff", Flag.EIGHT_BIT | Flag.LONG_LINES))
    assert b"BODY=8BITMIME" in core.output()[0]
    core = opened()
    core.submit(tx(b"x", Flag.BODY_8BITMIME))
    assert b"BODY=8BITMIME" not in core.output()[0]


def test_names_agree() -> None:
    assert [*KEYWORDS.values()] == [*Capability]
    assert KEYWORDS["8BITMIME"] == Capability.EIGHT_BIT
    assert [*EVENT_NAMES][1:] == [event.name for event in Event]
    assert set(transitions()) == set(STATE_NAMES)


def test_table() -> None:
    table = transitions()
    assert table["DATA"] == ("BREAK", "CONTENT", "DATA_NO", "DATA_NO")
    assert table["EHLO"] == ("OPEN", "BREAK", "REFUSE", "FALL_BACK")
    assert {name for name in STATE_NAMES if table[name][1] not in ("BREAK", "OVER")} == {"DATA"}


def test_deadlines_follow_the_session() -> None:
    core = ClientCore(ClientOptions("me"))
    seen = [kind(core)]
    for reply in (b"220 hi\r\n", EHLO):
        core.feed(reply)
        seen.append(kind(core))
    core.submit(tx())
    seen.append(kind(core))
    for reply in (b"250 a\r\n", b"250 b\r\n", b"354 c\r\n"):
        core.feed(reply)
        seen.append(kind(core))
    core.send_content(tx())
    seen.append(kind(core))
    core.feed(b"250 done\r\n")
    seen.append(kind(core))
    core.overlap_off()
    seen.append(kind(core))
    assert seen == [
        "greeting", "hello", "none", "mail", "rcpt", "data", "block", "dot", "ahead", "late",
    ]  # fmt: skip


def test_overlap_off_lasts_for_the_session() -> None:
    core = opened()
    core.overlap_off()
    core.submit(tx())
    core.feed(b"250 a\r\n250 b\r\n354 c\r\n")
    assert not core.overlap_ok
    with pytest.raises(LocalProtocolError, match="ahead"):
        core.send_content(tx())
    core.send_content()
    assert core.in_flight == 1


@pytest.mark.parametrize("options", [{"overlap": False}, {"pipelining": False}])
def test_overlap_needs_the_options_and_the_keyword(options: dict[str, bool]) -> None:
    assert opened().overlap_ok
    assert not opened(**options).overlap_ok
    assert not opened(b"250-mx\r\n250 SIZE\r\n").overlap_ok
    assert not ClientCore(ClientOptions("me")).overlap_ok


@pytest.mark.parametrize(
    ("word", "limit"),
    [("SIZE 100", 100), ("SIZE", 0), ("SIZE 0", 0), ("SIZE x", 0), ("SIZE " + "9" * 25, 0)],
)
def test_size_limit(word: str, limit: int) -> None:
    core = opened(f"250-mx\r\n250 {word}\r\n".encode())
    assert core.size_limit == limit
    assert core.capabilities == Capability.SIZE


def test_misuse_is_ours() -> None:
    core = ClientCore(ClientOptions("me"))
    for act in (core.quit, core.send_content, core.take_done, lambda: core.submit(tx())):
        with pytest.raises(LocalProtocolError):
            act()
    assert core.state == "GREETING"


def test_a_submission_decided_here_leaves_the_session_ready() -> None:
    core = opened()
    core.submit(tx(b"x" * 101))
    assert core.output() == []
    assert core.next_event() == Event.DONE
    assert core.take_done().results == [
        (552, "5.3.4", "the message has 103 octets, the server takes 100", "MAIL")
    ]
    assert core.next_event() == Event.READY
    assert core.transactions == 0


def test_sent_ahead_and_decided_here_the_dot_leaves_alone() -> None:
    core = opened()
    core.submit(tx())
    core.feed(b"250 a\r\n250 b\r\n354 c\r\n")
    core.output()
    core.send_content(tx(b"x" * 101))
    assert core.output() == [b"x\r\n", b".\r\n"]
    assert core.take_done().results[0][0] == 552
    assert core.in_flight == 1


def test_replies_before_the_content_are_bounded() -> None:
    core = opened()
    core.submit(tx())
    core.feed(b"250 a\r\n250 b\r\n354 c\r\n")
    for _ in range(70):
        core.feed(b"x" * 1000)
    assert core.closed
    assert core.take_done().results == [
        (0, "", "malformed reply to DATA: replies without commands", "DATA")
    ]


def test_nothing_follows_the_end() -> None:
    core = opened()
    core.quit()
    core.feed(b"221 bye\r\n550 what\r\n")
    assert core.next_event() == Event.CLOSED
    core.feed(b"220 hi\r\n")
    core.connection_lost("again")
    core.time_out()
    assert (core.next_event(), core.failure, core.state) == (None, None, "CLOSED")


def test_last_reply() -> None:
    core = opened()
    assert core.last_reply == (250, "", "mx PIPELINING 8BITMIME SIZE 100")
    core.submit(tx())
    core.feed(b"550 5.7.1 no\r\n")
    assert core.last_reply == (550, "5.7.1", "no")


@pytest.mark.parametrize("name", ["", "a b", "a\r\nb", "é"])
def test_options_refuse_what_cannot_be_said(name: str) -> None:
    with pytest.raises(ValueError, match="EHLO"):
        ClientOptions(name)


def test_a_transaction_needs_a_recipient() -> None:
    with pytest.raises(ValueError, match="recipient"):
        Transaction("a@x", [], b"")
