from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from mta.maillog import records
from mta.maillog.records import Record, RecordWriter, decode
from mta.model import Kind, Message, Outcome, Peer, Recipient, Stages
from mta.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = FakeClock().wall_us()
ABOUT = {
    "time": NOW, "id": "00" * 15 + "07", "sender": "s@a.example", "tenant": "acme",
    "campaign": "spring", "class": "bulk", "size": 9, "node": "mx1", "shard": 3, "session": "abc",
}  # fmt: skip
REPLY = {"code": 451, "enhanced": "4.7.1", "text": "lät\ner", "command": "RCPT"}
PEER = {"peer_name": "mx.b.example", "peer_address": "192.0.2.1:25", "source": "ip1"}
STAGES = {"queued": 1, "dns": 2, "connect": 3, "transfer": 4}
RECIPIENT = {"rno": 2, "recipient": "r@b.example", "attempts": 5}
PATH = {"queue": "spring:acme@b.example", "site": "mx.b.example", "tls": "TLSv1.3"}
ATTEMPT = {**ABOUT, **RECIPIENT, **REPLY, **PEER, **STAGES, **PATH}
RECEPTION = {
    "id": "ab" * 16, "sender": "s@a.example", "recipients": ["one@b.example", "two@b.example"],
    "total": 2, "tenant": "acme", "campaign": "may", "class": "bulk", "size": 9, "session": "abc",
}  # fmt: skip
LAST = {"code": 450, "enhanced": "4.2.0", "text": "last"}

outcome = Outcome(Kind.DEFERRED, 451, "4.7.1", "lät\ner", "RCPT")
peer = Peer("mx.b.example", "192.0.2.1:25", "ip1")
stages = Stages(1, 2, 3, 4)
queue, site, tls = "spring:acme@b.example", "mx.b.example", "TLSv1.3"


def one() -> Recipient:
    message = Message(
        bytes(15) + b"\7", "s@a.example", tenant="acme", campaign="spring", pool="p", klass=2,
        size=9, peer_name="client", peer_address="127.0.0.1:9", message_id="<m@a>", session="abc",
    )  # fmt: skip
    return Recipient(
        message, 2, "r@b.example", attempts=5, code=450, enhanced="4.2.0", text="last"
    )  # fmt: skip


ACT = {
    "act": 4, "verb": "reroute", "select": "domain=x", "by": "anna", "reason": "by hand",
    "next_hop": "[192.0.2.1]:25", "begun": 3, "touched": 12,
}  # fmt: skip
CASES: dict[str, tuple[Callable[[RecordWriter], bytes], dict[str, object]]] = {
    "Reception": (
        lambda w: w.reception(one().message, [one()]),
        {
            **ABOUT, "pool": "p", "message_id": "<m@a>", "peer_name": "client",
            "peer_address": "127.0.0.1:9", "recipients": ["r@b.example"], "total": 1,
        },
    ),
    "Delivery": (
        lambda w: w.delivery(one(), outcome, peer, stages, queue=queue, site=site, tls=tls),
        ATTEMPT,
    ),
    "TransientFailure": (
        lambda w: w.transient_failure(
            one(), outcome, peer, stages, 77, queue=queue, site=site, tls=tls
        ),
        {**ATTEMPT, "next_attempt": 77},
    ),
    "Bounce": (
        lambda w: w.bounce(one(), outcome, peer, stages, queue=queue, site=site, tls=tls),
        ATTEMPT,
    ),
    "Expiration": (
        lambda w: w.expiration(one(), queue=queue, site=site),
        {**ABOUT, **RECIPIENT, **LAST, "queue": queue, "site": site},
    ),
    "AdminBounce": (
        lambda w: w.admin_bounce(one(), reason="spam run", act=4, queue=queue),
        {**ABOUT, **RECIPIENT, **LAST, "reason": "spam run", "act": 4, "queue": queue},
    ),
    "Removed": (
        lambda w: w.removed(one(), reason="by hand", act=4),
        {**ABOUT, **RECIPIENT, **LAST, "reason": "by hand", "act": 4},
    ),
    "Lost": (
        lambda w: w.lost(RECEPTION, 1, "cut"),
        {
            "time": NOW, "id": "ab" * 16, "rno": 1, "sender": "s@a.example",
            "recipient": "two@b.example", "tenant": "acme", "campaign": "may", "class": "bulk",
            "size": 9, "session": "abc", "reason": "cut", "node": "mx1", "shard": 3,
        },
    ),
    "Found": (
        lambda w: w.found(one(), "restored"),
        {**ABOUT, "rno": RECIPIENT["rno"], "recipient": RECIPIENT["recipient"],
         "reason": "restored"},
    ),
    "Rejection": (
        lambda w: w.rejection(
            outcome, reason="relay", sender="", recipient="r@b.example", peer_name="client",
            peer_address="127.0.0.1:9", session="abc", size=9,
        ),
        {
            **REPLY, "time": NOW, "sender": "", "recipient": "r@b.example", "reason": "relay",
            "peer_name": "client", "peer_address": "127.0.0.1:9", "session": "abc", "size": 9,
            "node": "mx1", "shard": 3,
        },
    ),
    "Act": (
        lambda w: w.act(**ACT),  # type: ignore[arg-type]
        {**ACT, "time": NOW, "node": "mx1", "shard": 3},
    ),
}  # fmt: skip


def test_a_lost_recipient_that_its_reception_does_not_name_has_its_number() -> None:
    line = RecordWriter("mx1", 3, FakeClock()).lost({"id": "ab" * 16, "total": 500}, 499, "cut")
    assert json.loads(line) == {
        "type": "Lost", "time": NOW, "id": "ab" * 16, "rno": 499, "reason": "cut", "node": "mx1",
        "shard": 3,
    }  # fmt: skip


@pytest.mark.parametrize("type", CASES)
def test_a_record_has_these_fields(type: str) -> None:
    make, expected = CASES[type]
    line = make(RecordWriter("mx1", 3, FakeClock()))
    assert json.loads(line) == {"type": type, **expected}
    assert b"\n" not in line


def test_every_type_has_a_constructor_that_is_tested() -> None:
    assert set(CASES) == records.TYPES


def test_every_type_is_documented() -> None:
    for type in records.TYPES:
        assert f"| {type} |" in (records.__doc__ or "")


def test_every_field_is_used_by_some_record() -> None:
    names = {record.encode_name for record in msgspec.structs.fields(Record)}
    used = {"type", *(name for _, fields in CASES.values() for name in fields)}
    assert names == used


def test_an_expiration_after_an_attempt_tells_that_attempt() -> None:
    line = RecordWriter("mx1", 3, FakeClock()).expiration(one(), outcome, peer, stages)
    assert (decode(line) or {})["command"] == "RCPT"


def test_a_message_of_many_recipients_names_the_first_hundred() -> None:
    message = one().message
    many = [Recipient(message, number, f"{number}@x") for number in range(1000)]
    fields = decode(RecordWriter("mx1", 3, FakeClock()).reception(message, many)) or {}
    assert (len(fields["recipients"]), fields["total"]) == (100, 1000)


def test_what_was_set_aside_is_logged_with_what_is_known() -> None:
    line = RecordWriter("mx1", 3, FakeClock()).set_aside(bytes(16), 4, "no record")
    assert json.loads(line) == {
        "type": "Removed", "time": NOW, "id": "00" * 16, "rno": 4, "node": "mx1", "shard": 3,
        "reason": "no record",
    }  # fmt: skip


def test_text_that_is_no_unicode_is_made_readable() -> None:
    recipient = one()
    recipient.address = "caf\udce9@x"
    writer = RecordWriter("mx1", 3, FakeClock())
    assert (decode(writer.removed(recipient)) or {})["recipient"] == "caf?@x"
    assert (decode(writer.reception(recipient.message, [recipient])) or {})["recipients"] == [
        "caf?@x"
    ]


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"time":"x","type":"y"}', b'{"time":1}', b'{"a":"\xff"}']
)
def test_lines_that_are_no_records(line: bytes) -> None:
    assert decode(line) is None
