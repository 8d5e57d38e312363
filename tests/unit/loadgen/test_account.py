"""The account finds each way in which mail can go wrong, and nothing in mail that went right."""

from __future__ import annotations

from typing import Any

import pytest

from mta.loadgen.account import Account, Log, Promise, settle
from mta.loadgen.ledger import Ledger

Line = dict[str, Any]


def line(
    type: str,
    time: int = 0,
    id: str = "a1",
    recipient: str = "user1@x",
    code: int = 250,
    text: str = "ok",
    command: str = ".",
) -> Line:
    """A log record as the reader gives it: what has its default is left out."""
    fields = {"id": id, "recipient": recipient, "code": code, "text": text, "command": command}
    return {"type": type, "time": time} | {k: v for k, v in fields.items() if v}


RECEPTION = {"type": "Reception", "time": 1_000_000, "id": "a1", "total": 1}
DELIVERY = line("Delivery", 1_250_000)
BOUNCE = line("Bounce", code=550, recipient="unknown1@x")
LOST_REPLY = line("TransientFailure", code=0, text="connection lost")
PUT_OFF = line("TransientFailure", code=451, command="RCPT")


def account(
    *lines: Line,
    copies: int = 0,
    dsns: int = 0,
    manner: str = "accept",
    recipient: str = "user1@x",
    unknown: tuple[int, ...] = (),
    promised: bool = True,
) -> Account:
    log, ledger = Log(), Ledger()
    for entry in lines:
        log.add(entry)
    for _ in range(copies):
        ledger.take("s@x", [recipient], b"X-Load-Id: 1\r\n\r\n", cut=False, now=0.0)
    for _ in range(dsns):
        text = b"\r\nFinal-Recipient: rfc822; %b\r\n\r\nX-Load-Id: 1\r\n" % recipient.encode()
        ledger.take("", ["s@x"], text, cut=False, now=0.0)
    promises = {1: Promise("a1", recipient, manner)} if promised else {}
    return settle(promises, unknown, log, ledger)


def test_delivered() -> None:
    found = account(RECEPTION, DELIVERY, copies=1)
    assert found.problems == []
    assert (found.accepted, found.delivered, found.first_attempts) == (1, 1, 1)
    assert abs(found.time_to_deliver[0] - 250_000) < 8_000
    assert found.first_seconds == 0.25


def test_retried_is_not_a_first_attempt() -> None:
    found = account(RECEPTION, PUT_OFF, DELIVERY, copies=1, manner="greylist")
    assert (found.problems, found.retried, found.first_attempts) == ([], 1, 0)


def test_bounced_with_its_dsn() -> None:
    found = account(RECEPTION, BOUNCE, dsns=1, manner="unknown", recipient="unknown1@x")
    assert (found.problems, found.bounced, found.dsns) == ([], 1, 1)


def test_expired_where_the_receiver_puts_off() -> None:
    found = account(RECEPTION, PUT_OFF, line("Expiration", code=451), dsns=1, manner="defer")
    assert (found.problems, found.expired) == ([], 1)


def test_second_copy_after_a_lost_reply_is_explained() -> None:
    found = account(RECEPTION, LOST_REPLY, DELIVERY, copies=2)
    assert (found.problems, found.duplicates) == ([], 1)


@pytest.mark.parametrize(
    ("lines", "more", "says"),
    [
        ((RECEPTION,), {}, "lost: no final record, 0 copies"),
        ((RECEPTION, DELIVERY), {}, "never arrived"),
        ((RECEPTION, DELIVERY), {"copies": 2}, "2 copies arrived, 0 replies were lost"),
        ((RECEPTION, LOST_REPLY, DELIVERY), {"copies": 3}, "3 copies arrived, 1 replies"),
        ((RECEPTION, PUT_OFF, DELIVERY), {"copies": 2}, "2 copies arrived, 0 replies"),
        ((RECEPTION, DELIVERY, DELIVERY), {"copies": 1}, "final records: Delivery, Delivery"),
        ((DELIVERY,), {"copies": 1}, "no Reception record"),
        ((RECEPTION, DELIVERY), {"copies": 1, "dsns": 1}, "1 DSNs arrived instead of 0"),
        ((RECEPTION, line("Bounce", code=550)), {"dsns": 1}, "unexplained Bounce: 550 ok"),
        ((RECEPTION, line("Expiration")), {"dsns": 1, "manner": "defer"}, "unexplained Expiration"),
        (
            (RECEPTION, PUT_OFF, line("Expiration")),
            {"manner": "defer"},
            "0 DSNs arrived instead of 1",
        ),
        (
            (RECEPTION, PUT_OFF, line("Expiration")),
            {"manner": "defer", "dsns": 1, "copies": 1},
            "but 1 copies arrived",
        ),
        ((RECEPTION, line("Removed")), {"dsns": 1}, "unexplained Removed"),
    ],
)
def test_what_is_wrong_is_named(
    lines: tuple[Line, ...], more: dict[str, object], says: str
) -> None:
    found = account(*lines, **more)  # type: ignore[arg-type]
    assert len(found.problems) == 1
    assert says in found.problems[0]
    assert "message 1 (a1) to user1@x" in found.problems[0]


def test_arrived_without_a_promise() -> None:
    assert "not accepted" in account(copies=1, promised=False).problems[0]
    assert account(copies=1, promised=False, unknown=(1,)).problems == []


def test_own_messages_must_end_too() -> None:
    own = {"type": "Reception", "time": 1, "id": "d5", "total": 1}
    found = account(RECEPTION, DELIVERY, own, copies=1)
    assert found.problems == ["message d5: received, no final record"]
    end = line("Delivery", id="d5", recipient="s@x")
    assert account(RECEPTION, DELIVERY, own, end, copies=1).problems == []


def test_open_and_rejections() -> None:
    log = Log()
    for entry in (RECEPTION, line("Rejection", id=""), PUT_OFF):
        log.add(entry)
    assert log.open == 1
    log.add(DELIVERY)
    assert (log.open, log.retried, log.delivered) == (0, 1, 1)
