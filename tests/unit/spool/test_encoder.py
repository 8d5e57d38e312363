from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta._speedups import bodylog
from mta.errors import RecordError
from mta.model import Message, Recipient
from mta.spool import encoder, record
from tests.reference import encoder as plain

TEXT = st.one_of(st.text(max_size=40), st.sampled_from(["x" * 255, "é" * 200, "z" * 70_000]))
WORD = st.one_of(
    st.integers(0, 2**63 - 1), st.sampled_from([0, 127, 128, 255, 256, 65535, 65536, 2**32])
)
SIGNED = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300))
MESSAGES = st.builds(
    lambda t, i, priority: Message(
        bytes(16), t[0], tenant=t[1], campaign=t[2], pool=t[3], klass=i[0], received_us=i[1],
        size=i[2] >> 20, flags=i[3], peer_name=t[4], peer_address=t[5], message_id=t[6],
        session=t[7], open=1, total=1, envid=t[8], ret=t[9], priority=priority, release_us=i[4],
        place=i[5],
    ),
    st.lists(TEXT, min_size=10, max_size=10), st.lists(WORD, min_size=6, max_size=6), SIGNED,
)  # fmt: skip


def recipient_of(message: Message, texts: list[str], numbers: list[int]) -> Recipient:
    r = Recipient(message, 0, "a@b.example", notify=numbers[5], orcpt=texts[3], site=texts[0])
    r.address, r.enhanced, r.text, r.route = texts[:4]
    r.attempts, r.due_us, r.expires_us, r.where, r.code = numbers[:5]
    return r


@given(MESSAGES, st.lists(TEXT, min_size=4, max_size=4), st.lists(WORD, min_size=6, max_size=6))
def test_records_are_those_of_the_twin(m: Message, texts: list[str], numbers: list[int]) -> None:
    r = recipient_of(m, texts, numbers)
    assert encoder.encode_recipient(r) == plain.encode_recipient(r)
    m.total = 2
    assert encoder.encode_envelope(m) == plain.encode_envelope(m)
    assert encoder.encode_recipient(r) == plain.encode_recipient(r)


def test_one_row_gives_envelope_and_recipient_back() -> None:
    m = Message(bytes(16), "s@x", size=5000, open=1, total=1, place=9 << 32 | 4, priority=-4)
    r = Recipient(m, 0, "a@x", due_us=5, expires_us=6, text="é")
    value = encoder.encode_recipient(r)
    assert record.is_alone(value)
    assert record.place(value) == (m.place, bodylog.units(5000))
    read = record.decode_envelope(m.id, value)
    again = record.decode_recipient(read, 0, value)
    assert (read.sender, read.size, read.place, read.priority) == ("s@x", 5000, m.place, -4)
    assert (again.address, again.due_us, again.text) == ("a@x", 5, "é")
    m.total = 2
    assert not record.is_alone(encoder.encode_recipient(r))


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encoder.encode_envelope(Message(bytes(16), "\ud800"))


def test_a_number_beyond_64_bits_is_a_damaged_record() -> None:
    message = Message(bytes(16), "s@x", received_us=2**62, total=1)
    value = encoder.encode_recipient(Recipient(message, 0, "a@x", due_us=2**62))
    large = value.replace((2**62).to_bytes(8, "big"), bytes([255]) * 8)
    with pytest.raises(RecordError, match="recipient record"):
        record.decode_recipient(message, 0, large)
    with pytest.raises(RecordError, match="envelope record"):
        record.decode_envelope(message.id, large)


def test_a_place_beyond_64_bits_is_found_nowhere() -> None:
    message = Message(bytes(16), "s@x", total=2)
    value = encoder.encode_envelope(message)
    read = record.decode_envelope(message.id, value[:1] + bytes([255]) * 8 + value[9:])
    assert read.place < 0
