from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.errors import RecordError
from mta.model import Message, Recipient, Where
from mta.spool import encoder, keys, record

NAMES = st.text(max_size=30)
TIMES = st.integers(0, 2**63)
ID = bytes(range(16))


@given(NAMES, NAMES, NAMES, st.integers(0, 2), TIMES, st.integers(0, 2**32 - 1))
def test_a_backlog_row_is_built_and_taken_apart(
    tenant: str, campaign: str, domain: str, klass: int, when: int, number: int
) -> None:
    lane = keys.Lane(klass, tenant, campaign, domain)
    prefix = keys.lane(lane)
    row = keys.backlog(prefix, when, keys.recipient(ID, number))
    assert keys.parse_backlog(row) == (lane, prefix, when)
    assert keys.parse_recipient(row) == (ID, number)
    assert prefix <= row < keys.above(prefix)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_backlog_row_or_a_record_error(row: bytes) -> None:
    try:
        lane, prefix, when = keys.parse_backlog(b"b" + row)
    except RecordError:
        return
    assert keys.backlog(prefix, when, (b"b" + row)[-20:]) == b"b" + row
    assert keys.lane(lane)[2:] == prefix[2:]


@given(TIMES, TIMES)
def test_byte_order_is_time_order(one: int, other: int) -> None:
    key = keys.recipient(ID, 7)
    assert (keys.due(one, key) < keys.due(other, key)) == (one < other)
    assert keys.timed(keys.expiry(one, key)) == one


def test_a_recipients_row_follows_from_where_it_is() -> None:
    recipient = Recipient(Message(ID, "", tenant="t", campaign="c", klass=2), 5, "a@B.example")
    key, rows = keys.recipient(ID, 5), []
    recipient.due_us = 9
    for where in (Where.FRESH, Where.DUE, Where.BACKLOG, Where.HELD):
        recipient.where = where
        rows.append(keys.row(recipient, key))
    lane = keys.lane((2, "t", "c", "b.example"))
    assert rows == [b"f" + key, keys.due(9, key), keys.backlog(lane, 9, key), b"h" + key]


@pytest.mark.parametrize("number", [0, 1, 1023, 1024, 2**32 - 1])
def test_a_recipient_key_carries_its_number(number: int) -> None:
    assert keys.parse_recipient(keys.recipient(ID, number)) == (ID, number)


def full_message() -> Message:
    return Message(
        ID, "s@x", tenant="t", campaign="c", pool="p", klass=2, received_us=1, size=2, flags=3,
        peer_name="n", peer_address="a", message_id="<m>", session="s", open=4, total=5,
        envid="QQ314159", ret="FULL", priority=-3, release_us=6,
    )  # fmt: skip


def slots(thing: object, *without: str) -> dict[str, object]:
    names = [name for name in type(thing).__slots__ if name not in (*without, "__weakref__")]  # type: ignore[attr-defined]
    return {name: getattr(thing, name) for name in names}


def test_an_envelope_comes_back_in_all_its_fields() -> None:
    message = full_message()
    read = record.decode_envelope(ID, encoder.encode_envelope(message))
    assert slots(read) == slots(message)


def test_a_recipient_comes_back_in_all_its_fields() -> None:
    message = full_message()
    recipient = Recipient(
        message, 3, "é@Example.ORG", due_us=1, expires_us=2, attempts=3, where=Where.HELD,
        code=451, enhanced="4.7.1", text="später", route="[192.0.2.1]:25", notify=14,
        orcpt="rfc822;e@example.org", site="mx.example.org",
    )  # fmt: skip
    read = record.decode_recipient(message, 3, encoder.encode_recipient(recipient))
    assert slots(read) == slots(recipient)


def test_records_of_an_earlier_version_lack_the_last_fields() -> None:
    message = full_message()
    fields = msgspec.msgpack.decode(encoder.encode_envelope(message)[record.PLACED :])
    old = record.decode_envelope(ID, bytes([1, *bytes(12)]) + msgspec.msgpack.encode(fields[:14]))
    assert (old.total, old.envid, old.ret, old.priority, old.release_us) == (5, "", "", 0, 0)
    recipient = Recipient(message, 3, "a@b", notify=14, orcpt="rfc822;c@d")
    fields = msgspec.msgpack.decode(encoder.encode_recipient(recipient)[1:])
    read = record.decode_recipient(message, 3, b"\x01" + msgspec.msgpack.encode(fields[:9]))
    assert (read.address, read.notify, read.orcpt, read.site) == ("a@b", 0, "", "")


def test_fields_that_a_later_version_adds_at_the_end_are_ignored() -> None:
    fields = msgspec.msgpack.decode(encoder.encode_envelope(full_message())[record.PLACED :])
    value = bytes([1, *bytes(12)]) + msgspec.msgpack.encode([*fields, "new", 1])
    assert slots(record.decode_envelope(ID, value)) == slots(full_message())


@pytest.mark.parametrize(
    "value",
    [b"", b"\x02\x90", b"\x01", b"\x01\x90", b"\x01\xa1x", b"\x01" + b"\xff" * 40],
)
def test_bytes_that_are_no_record_are_refused(value: bytes) -> None:
    with pytest.raises(RecordError):
        record.decode_envelope(ID, value)
    with pytest.raises(RecordError):
        record.decode_recipient(full_message(), 0, value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_record_error(value: bytes) -> None:
    for decode in (
        lambda: record.decode_envelope(ID, value),
        lambda: record.decode_recipient(full_message(), 0, value),
    ):
        try:
            decode()
        except RecordError:
            pass


def test_a_state_that_does_not_exist_is_refused() -> None:
    recipient = Recipient(full_message(), 0, "a@b")
    recipient.where = 9
    with pytest.raises(RecordError, match="state 9"):
        record.decode_recipient(full_message(), 0, encoder.encode_recipient(recipient))
