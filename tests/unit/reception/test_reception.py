"""The way in: from an envelope and content to a message that is handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from mta._speedups.verdict import ACCEPTED, UNKNOWN, Verdict
from mta.errors import SpoolBusyError, SpoolUnknownError
from mta.maillog.records import RecordWriter, decode
from mta.model import Class, Flag, IdGenerator, Message, Notify, Wish, id_shard
from mta.reception.admit import Member
from mta.reception.arrival import Arrival
from mta.reception.client import Client
from mta.reception.control import Control, ControlNames
from mta.reception.members import admission
from mta.reception.parameters import ParameterOptions
from mta.reception.policy import Policy
from mta.reception.reception import Reception, ReceptionOptions
from mta.smtp.replies import NO_STORAGE
from mta.testing.clock import FakeClock
from mta.testing.room import Room

HOST = "mx.example.net"
PLAIN = b"Date: x\r\nMessage-ID: <1@c>\r\nSubject: s\r\n\r\nHello\r\n"


class Desk:
    """A reception with everything around it, and what came of it."""

    def __init__(
        self, rule: dict | None = None, room: bool = True, members: Sequence[Member] = (), **options
    ) -> None:
        self.submitted: list[tuple[Message, list[str]]] = []
        self.finish: list[Callable[[BaseException | None], None]] = []
        self.rejections: list[dict] = []
        self.verdicts: list[Verdict] = []
        self.raises: BaseException | None = None
        self.room = Room()
        self.room.open = room
        self.clock = FakeClock()
        self.client = Client("192.0.2.1", "s-1", relay=True)
        self.client.name, self.client.extended = "c.example", True
        asked, policy = ReceptionOptions(HOST, **options), Policy(HOST, **(rule or {}))
        self.reception = Reception(
            asked,
            policy,
            admission(asked, policy, self.clock, self.room, handler=members),
            IdGenerator(7, self.clock),
            self.submit,
            self.log,
            self.clock,
            self.room,
            records=RecordWriter("n1", 7, self.clock),
        )

    def submit(self, message, recipients, done, wishes=None) -> None:
        if self.raises is not None:
            raise self.raises
        self.submitted.append((message, recipients))
        self.wishes = wishes
        self.finish.append(done)

    def log(self, line: bytes) -> None:
        record = decode(line)
        assert record is not None and record["type"] == "Rejection"
        self.rejections.append(record)

    @property
    def replies(self) -> list[bytes]:
        return [verdict.reply() for verdict in self.verdicts]

    def mail(self, sender: str, **params) -> Verdict:
        params = {name.replace("_", "-"): value for name, value in params.items()}
        return self.reception.mail(self.client, sender, params or None)

    def rcpt(self, recipient: str, **params) -> Verdict:
        return self.reception.rcpt(self.client, recipient, params or None)

    def content(self, body: bytes, flags: int = 0) -> None:
        self.reception.content(self.client, self.client, body, flags, self.verdicts.append)

    def message(self, body: bytes, flags: int = 0) -> Message:
        """The message that becomes of this content."""
        assert self.mail("a@c.example") is ACCEPTED
        assert self.rcpt("b@example.com") is ACCEPTED
        assert self.reception.data(self.client) is ACCEPTED
        self.content(body, flags)
        assert self.replies == []
        return self.submitted[-1][0]

    def refused(self, body: bytes) -> bytes:
        """The refusal of this content."""
        self.mail("a@c.example")
        self.rcpt("b@example.com")
        self.content(body)
        assert self.submitted == []
        return self.replies[-1]


def test_a_message_is_handed_on():
    desk = Desk()
    message = desk.message(PLAIN, Flag.DOT_LINES)
    assert desk.submitted[0][1] == ["b@example.com"]
    assert id_shard(message.id) == 7
    assert message.sender == "a@c.example"
    assert message.received_us == desk.clock.wall_us()
    assert message.flags == Flag.DOT_LINES
    assert (message.peer_name, message.peer_address) == ("c.example", "192.0.2.1")
    assert (message.message_id, message.session) == ("<1@c>", "s-1")
    assert (message.open, message.total) == (1, 1)
    assert message.klass == Class.NORMAL
    assert message.body == (
        b"Received: from c.example ([192.0.2.1])\r\n"
        b"\tby mx.example.net with ESMTP id " + message.id.hex().encode() + b";\r\n"
        b"\tThu, 01 Jan 2026 00:00:00 +0000\r\n" + PLAIN
    )
    assert message.size == len(message.body)


def test_the_250_waits_for_the_commit_and_names_the_id():
    desk = Desk()
    message = desk.message(PLAIN)
    desk.finish[0](None)
    assert desk.replies == [b"250 2.0.0 Ok: queued as " + message.id.hex().encode() + b"\r\n"]
    assert desk.rejections == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(SpoolBusyError("full"), b"452 4.3.1 "), (OSError("broken"), b"451 4.3.0 ")],
)
def test_a_commit_that_fails(error, code):
    desk = Desk()
    desk.message(PLAIN)
    desk.finish[0](error)
    assert desk.replies[0].startswith(code)
    assert desk.rejections[0]["code"] == int(code[:3])


def test_a_commit_of_which_nobody_knows_what_became():
    desk = Desk()
    desk.message(PLAIN)
    desk.finish[0](SpoolUnknownError("the spool failed"))
    assert desk.verdicts == [UNKNOWN]
    [record] = desk.rejections
    assert (record["reason"], record["text"]) == ("unknown", "the spool failed")
    assert "code" not in record


def test_busy_at_once():
    desk = Desk()
    desk.raises = SpoolBusyError("stalled")
    assert desk.refused(PLAIN).startswith(b"452 4.3.1 ")


def test_no_room_is_said_at_data():
    desk = Desk(room=False)
    desk.mail("a@c.example")
    desk.rcpt("b@example.com")
    refusal = desk.reception.data(desk.client)
    assert refusal.reply().startswith(b"452 4.3.1 ")
    assert desk.rejections[0]["command"] == "DATA"


def test_relaying_denied():
    desk = Desk()
    desk.client.relay = False
    desk.mail("a@c.example")
    refusal = desk.rcpt("b@example.com")
    assert refusal.reply().startswith(b"554 5.7.1 ")
    assert desk.client.recipients == []
    record = desk.rejections[0]
    assert record["sender"] == "a@c.example"
    assert record["recipient"] == "b@example.com"
    assert record["peer_address"] == "192.0.2.1"
    assert record["session"] == "s-1"
    assert record["command"] == "RCPT"
    assert (record["code"], record["enhanced"]) == (554, "5.7.1")
    assert "relaying denied" in record["text"]
    assert record["reason"] == "relaying denied"
    assert (record["node"], record["shard"]) == ("n1", 7)


def test_addresses_need_domains():
    desk = Desk()
    assert desk.mail("nobody").reply().startswith(b"501 5.1.7 ")
    assert desk.client.sender is None
    assert desk.mail("") is ACCEPTED
    assert desk.rcpt("nobody").reply().startswith(b"550 5.1.2 ")
    assert desk.rcpt("Postmaster") is ACCEPTED
    assert desk.client.recipients == [f"Postmaster@{HOST}"]
    assert len(desk.rejections) == 2


def test_loops_end():
    desk = Desk(max_hops=3)
    hops = b"Received: x\r\n"
    assert desk.refused(hops * 4 + PLAIN).startswith(b"554 5.4.6 ")
    assert desk.rejections[0]["enhanced"] == "5.4.6"
    assert desk.rejections[0]["reason"] == "loop"
    assert desk.rejections[0]["size"] == len(hops * 4 + PLAIN)
    assert Desk(max_hops=3).message(hops * 3 + PLAIN).body is not None


CONTROLLED = (
    b"X-Tenant: acme\r\nSubject: s\r\nX-JOB: spring\r\n sale\r\nX-virtual-MTA: p\r\n"
    b"X-Class: bulk\r\n\r\nX-Tenant: in the body\r\n"
)
CLEANED = b"Subject: s\r\n\r\nX-Tenant: in the body\r\n"


def test_control_headers_of_those_who_may():
    message = Desk(believe_control=True).message(CONTROLLED)
    assert (message.tenant, message.campaign, message.pool) == ("acme", "spring sale", "p")
    assert message.klass == Class.BULK
    assert message.body is not None and message.body.endswith(b" +0000\r\n" + CLEANED)
    assert message.size == len(message.body)


def test_control_headers_of_others_are_removed():
    message = Desk().message(CONTROLLED)
    assert (message.tenant, message.campaign, message.pool) == ("", "", "")
    assert message.klass == Class.NORMAL
    assert message.body is not None and message.body.endswith(b" +0000\r\n" + CLEANED)


def test_control_header_names_are_settings():
    names = ControlNames(tenant=("X-Kunde",))
    message = Desk(believe_control=True, names=names).message(b"X-kunde: a\r\nX-Tenant: b\r\n\r\n")
    assert message.tenant == "a"
    assert message.body is not None and message.body.endswith(b"X-Tenant: b\r\n\r\n")


def test_bad_control_header():
    body = b"X-Class: urgent\r\n\r\n"
    desk = Desk(believe_control=True)
    assert b"X-Class" in desk.refused(body)
    assert desk.rejections[0]["enhanced"] == "5.6.0"
    assert Desk().message(body).klass == Class.NORMAL


def test_date_and_message_id_where_missing():
    message = Desk(add_headers=True).message(b"Subject: s\r\n\r\nHello\r\n")
    digits = message.id.hex()
    assert message.message_id == f"<{digits}@{HOST}>"
    assert message.body is not None
    assert message.body.endswith(
        b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
        b"Message-ID: <%b@mx.example.net>\r\nSubject: s\r\n\r\nHello\r\n" % digits.encode()
    )


def test_date_and_message_id_are_left_alone():
    message = Desk(add_headers=True).message(PLAIN)
    assert message.message_id == "<1@c>"
    assert message.body is not None and message.body.endswith(b" +0000\r\n" + PLAIN)
    other = Desk().message(b"Subject: s\r\n\r\n")
    assert other.message_id == ""
    assert other.body is not None and b"Message-ID" not in other.body


@pytest.mark.parametrize(
    ("body", "end"),
    [
        (b"no header at all\r\n", b"+0000\r\n\r\nno header at all\r\n"),
        (b" begins like a continuation\r\n", b"+0000\r\n\r\n begins like a continuation\r\n"),
        (b"\r\nbody\r\n", b"+0000\r\n\r\nbody\r\n"),
        (b"", b"+0000\r\n\r\n"),
    ],
)
def test_content_without_header(body, end):
    message = Desk().message(body)
    assert message.body is not None and message.body.endswith(end)


def test_every_message_of_a_session_has_its_own_id_line():
    desk = Desk()
    first, second = desk.message(PLAIN), desk.message(PLAIN)
    assert first.id.hex().encode() in (first.body or b"")
    assert second.id.hex().encode() in (second.body or b"")
    assert first.id < second.id


def test_what_parameters_ask_goes_with_the_message():
    desk = Desk()
    assert desk.mail("a@c.example", RET="hdrs", ENVID="QQ+2B1", MT_PRIORITY="-4") is ACCEPTED
    assert desk.rcpt("b@example.com") is ACCEPTED
    assert desk.rcpt("c@example.com", NOTIFY="success,FAILURE", ORCPT="rfc822;x+40y@z") is ACCEPTED
    desk.content(PLAIN)
    [(message, recipients)] = desk.submitted
    assert recipients == ["b@example.com", "c@example.com"]
    assert (message.ret, message.envid, message.priority) == ("HDRS", "QQ+2B1", -4)
    assert message.klass == Class.BULK
    assert desk.wishes == {1: Wish(Notify.SUCCESS | Notify.FAILURE, "rfc822;x+40y@z")}


def test_nothing_asked_before_is_left_for_the_next_message():
    desk = Desk()
    desk.mail("a@c.example", ENVID="one")
    desk.rcpt("b@example.com", NOTIFY="NEVER")
    desk.mail("a@c.example")
    desk.rcpt("b@example.com")
    desk.content(PLAIN)
    assert (desk.submitted[0][0].envid, desk.wishes) == ("", None)


def test_a_refused_recipient_leaves_its_wish_to_nobody():
    desk = Desk()
    desk.mail("a@c.example")
    assert desk.rcpt("nobody", NOTIFY="NEVER").reply().startswith(b"550 ")
    assert desk.rcpt("b@example.com") is ACCEPTED
    desk.content(PLAIN)
    assert not desk.wishes


def test_a_header_names_the_class_before_a_priority_does():
    desk = Desk(believe_control=True)
    desk.mail("a@c.example", MT_PRIORITY="9")
    desk.rcpt("b@example.com")
    desk.content(b"X-Class: normal\r\n" + PLAIN)
    assert (desk.submitted[0][0].klass, desk.submitted[0][0].priority) == (Class.NORMAL, 9)


def test_only_clients_that_may_relay_hold_and_hurry():
    desk = Desk(parameters=ParameterOptions(max_hold=3600))
    standard = b"250-mx\r\n250 SIZE\r\n"
    assert desk.reception.hello(desk.client, True, standard) == (
        b"250-mx\r\n250-FUTURERELEASE 3600 2026-01-01T01:00:00Z\r\n250 SIZE\r\n"
    )
    assert desk.reception.hello(desk.client, True, b"250 mx\r\n").endswith(b"01:00:00Z\r\n")
    assert desk.reception.hello(desk.client, False, b"250 mx\r\n") == b"250 mx\r\n"
    assert desk.mail("a@c.example", HOLDFOR="60") is ACCEPTED
    assert desk.client.asked.release_us == desk.clock.wall_us() + 60_000_000
    desk.client.relay = False
    assert desk.reception.hello(desk.client, True, standard) == standard
    assert desk.mail("a@c.example", HOLDFOR="60").reply().startswith(b"555 5.5.4 Parameter HOLDFOR")
    assert desk.mail("a@c.example", MT_PRIORITY="9").reply().startswith(b"250 2.3.6 ")
    assert desk.client.asked.priority == 0


def test_utf8_has_its_protocol_and_domains_that_dns_knows():
    desk = Desk()
    message = desk.message(PLAIN, Flag.SMTPUTF8)
    assert b" with UTF8SMTP id " in message.body
    assert b" with ESMTP id " in desk.client.trace
    assert desk.mail("a@b\u00fccher.example") is ACCEPTED
    assert desk.rcpt("\u00e9@bad\u200e.example").reply().startswith(b"501 5.1.2 ")
    assert desk.rcpt("\u00e9@b\u00fccher.example") is ACCEPTED
    assert desk.mail("a@bad\u200e.example").reply().startswith(b"501 5.1.7 ")


def test_relay_domains_are_compared_as_a_labels():
    desk = Desk({"relay_domains": ["xn--bcher-kva.example"]})
    desk.client.relay = False
    desk.mail("a@c.example")
    assert desk.rcpt("\u00e9@B\u00fccher.example") is ACCEPTED
    assert desk.rcpt("\u00e9@other.example").reply().startswith(b"554 5.7.1 ")


class Late(Member):
    """Judges recipients and contents, when it is told to; `said` is what it says."""

    reads_content = True

    def __init__(self) -> None:
        self.said: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    async def message(self, arrival: Arrival) -> Verdict:
        return await self.said


REFUSAL = Verdict(550, "5.7.1", "No", "mine")


@pytest.mark.parametrize("verdict", [ACCEPTED, REFUSAL])
def test_content_whose_verdict_comes_later_is_counted_until_then(verdict):
    async def test():
        late = Late()
        desk = Desk(members=[late])
        desk.mail("a@c.example")
        desk.rcpt("b@example.com")
        desk.content(PLAIN)
        desk.client.sender = desk.client.recipients = None  # the session has its own way to go
        assert desk.room.octets == len(PLAIN) and desk.submitted == desk.replies == []
        late.said.set_result(verdict)
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        assert desk.room.octets == 0
        if verdict is ACCEPTED:
            assert desk.submitted[0][1] == ["b@example.com"]
        else:
            assert desk.verdicts == [REFUSAL] and desk.rejections[0]["reason"] == "mine"

    asyncio.run(test())


def test_content_that_would_have_to_wait_without_room_is_deferred():
    class Unlucky(Member):
        async def message(self, arrival: Arrival) -> Verdict:
            raise AssertionError("nobody asks")

    desk = Desk(members=[Unlucky()])
    desk.mail("a@c.example")
    desk.rcpt("b@example.com")
    desk.room.reserve = lambda *_: False
    desk.content(PLAIN)
    assert desk.verdicts == [NO_STORAGE] and desk.submitted == []


def test_a_refused_recipient_leaves_no_wish_whoever_refuses_it():
    class NoBob(Member):
        def rcpt(self, client: Client, recipient: str, params: object) -> Verdict:
            return REFUSAL if recipient.startswith("bob@") else ACCEPTED

    desk = Desk(members=[NoBob()])
    desk.mail("a@c.example")
    assert desk.rcpt("bob@example.com", NOTIFY="NEVER") is REFUSAL
    assert desk.rcpt("b@example.com") is ACCEPTED
    desk.content(PLAIN)
    assert not desk.wishes and desk.submitted[0][1] == ["b@example.com"]
    assert [record["reason"] for record in desk.rejections] == ["mine"]


def test_a_member_may_change_what_is_stored():
    class Signs(Member):
        def message(self, arrival: Arrival) -> Verdict:
            arrival.change(b"X-Seen: yes\r\n" + arrival.content, arrival.flags)
            arrival.control = Control(tenant="acme")
            return ACCEPTED

    message = Desk(members=[Signs()]).message(PLAIN)
    assert message.body is not None and message.body.endswith(b"X-Seen: yes\r\n" + PLAIN)
    assert message.tenant == "acme"
