from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta.maillog.records import CLASSES, RECIPIENTS_SHOWN, RecordWriter, decode
from mta.model import Kind, Message, Outcome, Peer, Recipient, Stages
from mta.testing.clock import FakeClock
from tests.reference import logline as plain

TEXT = st.one_of(
    st.just(""), st.text(max_size=30), st.text(st.characters(max_codepoint=130), max_size=30)
)
NUMBER = st.one_of(st.just(0), st.integers(-(2**40), 2**62))
ID = st.binary(min_size=16, max_size=16)
MESSAGES = st.builds(
    lambda id, t, klass, size: Message(
        id, t[0], tenant=t[1], campaign=t[2], pool=t[3], klass=klass, size=size, peer_name=t[4],
        peer_address=t[5], message_id=t[6], session=t[7],
    ),
    ID, st.lists(TEXT, min_size=8, max_size=8), st.integers(0, 2), st.integers(0, 2**40),
)  # fmt: skip


def writer(node: str, shard: int) -> RecordWriter:
    return RecordWriter(node, shard, FakeClock())


@given(MESSAGES, st.lists(TEXT, max_size=4), TEXT, st.integers(0, 4095))
def test_a_reception_is_that_of_the_twin(
    message: Message, addresses: list[str], node: str, shard: int
) -> None:
    recipients = [Recipient(message, n, "a@b") for n in range(len(addresses))]
    for recipient, address in zip(recipients, addresses, strict=True):
        recipient.address = address
    lines = writer(node, shard)
    line = lines.reception(message, recipients)
    now, klass = FakeClock().wall_us(), CLASSES[message.klass]
    assert line == lines.reception_by_struct(message, recipients)
    twin = plain.Lines(plain.tail(node, shard))
    assert line == twin.reception(now, message, recipients, RECIPIENTS_SHOWN, klass)
    assert decode(line) is not None


@given(
    MESSAGES, st.lists(TEXT, min_size=9, max_size=9), st.lists(NUMBER, min_size=7, max_size=7),
    st.one_of(st.none(), TEXT),
)  # fmt: skip
def test_a_delivery_is_that_of_the_twin(
    message: Message, texts: list[str], numbers: list[int], tls: str | None
) -> None:
    recipient = Recipient(message, abs(numbers[0]), "a@b")
    recipient.address, recipient.attempts = texts[0], numbers[1]
    outcome = Outcome(Kind.DELIVERED, numbers[2], *texts[1:4])
    peer, stages = Peer(*texts[4:7]), Stages(*numbers[3:])
    lines = writer("n", 7)
    line = lines.delivery(recipient, outcome, peer, stages, queue=texts[7], site=texts[8], tls=tls)
    assert line == lines.delivery_by_struct(
        recipient, outcome, peer, stages, texts[7], texts[8], tls
    )
    now, klass = FakeClock().wall_us(), CLASSES[message.klass]
    assert line == plain.Lines(plain.tail("n", 7)).delivery(
        now, recipient, outcome, peer, stages, texts[7], texts[8], tls, klass
    )


def test_every_octet_is_written_right_wherever_it_stands() -> None:
    lines = writer("n", 1)  # texts are copied eight octets at a time
    for octet in range(128):
        texts = ["a" * at + chr(octet) + "\x7f" * (17 - at) for at in range(18)]
        for text in texts:
            message = Message(bytes(16), text)
            assert lines.reception(message, []) == lines.reception_by_struct(message, [])


def test_only_so_many_recipients_are_named() -> None:
    message = Message(bytes(16), "s@x")
    recipients = [Recipient(message, n, f"{n}@x") for n in range(RECIPIENTS_SHOWN + 5)]
    fields = decode(writer("n", 1).reception(message, recipients))
    assert fields is not None
    assert (len(fields["recipients"]), fields["total"]) == (RECIPIENTS_SHOWN, RECIPIENTS_SHOWN + 5)


def test_text_that_is_no_unicode_is_made_readable() -> None:
    message = Message(bytes(16), "\ud800@x", session='"\\\x01')
    recipient = Recipient(message, 0, "a@x")
    lines = writer("n", 1)
    outcome = Outcome(Kind.DELIVERED, 250, "", "ok", ".")
    for line in (
        lines.reception(message, [recipient]),
        lines.delivery(recipient, outcome, Peer("", "", ""), Stages()),
    ):
        fields = decode(line)
        assert fields is not None
        assert (fields["sender"], fields["session"]) == ("?@x", '"\\\x01')
