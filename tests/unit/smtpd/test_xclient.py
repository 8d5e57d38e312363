"""XCLIENT: who may use it, what it changes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mta.reception.policy import Clients
from mta.smtp.server import ServerOptions
from mta.smtpd.limits import SessionLimits
from mta.smtpd.listener import ListenerOptions
from mta.smtpd.timeouts import Timeouts
from mta.smtpd.xclient import KEYWORD, Claims, XclientError, parse

from .desk import HOST, Desk, Talk

MESSAGE = (b"MAIL FROM:<a@c>\r\n", b"RCPT TO:<b@d>\r\n", b"DATA\r\n", b"\r\nx\r\n.\r\n")


def proxied(limits: SessionLimits | None = None, **rule: Any) -> Desk:
    desk = Desk(rule=rule, limits=limits)
    options = ListenerOptions(
        ServerOptions(HOST), Timeouts(), xclient=Clients(["127.0.0.1"]),
        server_xclient=ServerOptions(HOST, keywords=[KEYWORD], commands=["XCLIENT"]),
    )  # fmt: skip
    desk.listener.reload(options, desk.reception)
    return desk


def open_as(desk: Desk, address: str) -> Talk:
    talk = desk.open(address)
    talk.session.relay = desk.listener._may_relay(address)  # noqa: SLF001
    talk.replies()
    return talk


def test_announced_to_listed_proxies_alone() -> None:
    desk = proxied()
    assert KEYWORD.encode() in open_as(desk, "127.0.0.1").say(b"EHLO p\r\n")
    other = open_as(desk, "192.0.2.1")
    assert b"XCLIENT" not in other.say(b"EHLO p\r\n")
    assert other.codes(b"XCLIENT ADDR=192.0.2.2\r\n") == [500]
    assert other.session.address == "192.0.2.1"


def test_rules_judge_the_address_given() -> None:
    desk = proxied(relay_from=["127.0.0.0/8", "192.0.2.0/24"])
    talk = open_as(desk, "127.0.0.1")
    assert talk.codes(b"EHLO p\r\nMAIL FROM:<a@c>\r\nRCPT TO:<b@d>\r\n") == [250, 250, 554]
    assert talk.codes(b"XCLIENT ADDR=192.0.2.9\r\n") == [503]
    assert talk.codes(b"RSET\r\nXCLIENT ADDR=192.0.2.9 NAME=c.example\r\n") == [250, 220]
    assert talk.codes(b"MAIL FROM:<a@c>\r\n") == [503]
    assert talk.codes(b"EHLO c.example\r\nMAIL FROM:<a@c>\r\nRCPT TO:<b@d>\r\n") == [250] * 3
    assert talk.codes(b"RSET\r\nXCLIENT ADDR=203.0.113.9\r\n") == [250, 220]
    assert talk.codes(b"EHLO c\r\nMAIL FROM:<a@c>\r\nRCPT TO:<b@d>\r\n") == [250, 250, 554]
    assert talk.codes(b"RSET\r\nXCLIENT ADDR=[UNAVAILABLE]\r\n") == [250, 220]
    assert talk.codes(b"EHLO c\r\nMAIL FROM:<a@c>\r\nRCPT TO:<b@d>\r\n") == [250, 250, 554]


def test_what_the_message_says() -> None:
    desk = proxied(relay_domains=["d"])
    talk = open_as(desk, "127.0.0.1")
    line = b"XCLIENT ADDR=IPV6:2001:db8::9 NAME=c.example HELO=me+2Eexample PROTO=esmtp LOGIN=joe"
    assert talk.codes(line + b"\r\n") == [220]
    assert talk.codes(b"HELO proxy\r\n") == [250]
    assert [code for line in MESSAGE for code in talk.codes(line)] == [250, 250, 354, 250]
    message = desk.messages[0][0]
    assert (message.peer_name, message.peer_address) == ("me.example", "2001:db8::9")
    head = b"from me.example (c.example [IPv6:2001:db8::9])\r\n\tby mx.example.net with ESMTPA id "
    assert message.body is not None and head in message.body
    assert "login='joe'" in repr(talk.session)


def test_limits_go_with_the_client() -> None:
    desk = proxied(limits=SessionLimits(0, 1))
    first, second = open_as(desk, "127.0.0.1"), desk.service.limits
    assert first.codes(b"XCLIENT ADDR=192.0.2.9\r\n") == [220]
    assert second.enter(second.network("192.0.2.9")).refuses
    talk = Talk.__new__(Talk)
    desk.service.limits.max_per_network = 2
    Talk.__init__(talk, desk, "127.0.0.1")
    talk.replies()
    desk.service.limits.max_per_network = 1
    assert talk.codes(b"XCLIENT ADDR=192.0.2.9\r\n") == [421]
    assert talk.transport.eof
    for one in (first, talk):
        one.lost()
    assert desk.service.limits.sessions == 0


@pytest.mark.parametrize(
    "line",
    [
        b"XCLIENT",
        b"XCLIENT ADDR",
        b"XCLIENT ADDR=",
        b"XCLIENT ADDR=300.1.1.1",
        b"XCLIENT ADDR=host.example",
        b"XCLIENT PORT=65536",
        b"XCLIENT PORT=x",
        b"XCLIENT PROTO=HTTP",
        b"XCLIENT HELO=a+20b",
        b"XCLIENT NAME=a+zz",
        b"XCLIENT LOGIN=a+0Db",
        b"XCLIENT DESTADDR=192.0.2.1",
    ],
)
def test_bad_attributes_change_nothing(line: bytes) -> None:
    talk = open_as(proxied(), "127.0.0.1")
    assert talk.codes(line + b"\r\n") == [501]
    assert talk.session.claims is None and talk.session.core.state == "start"


def test_parsing() -> None:
    claims = parse(b"xclient addr=IPV6:::FFFF:192.0.2.1 port=25 name=[TEMPUNAVAIL] proto=SMTP")
    assert claims == Claims("192.0.2.1", "", "25", "SMTP")
    with pytest.raises(XclientError):
        parse(b"XCLIENT +41=b")
    assert cast(Any, claims).login is None
