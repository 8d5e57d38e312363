"""Whatever a remote says and whatever the message was: a notification stays a notification."""

from __future__ import annotations

import email
import email.policy

from hypothesis import given
from hypothesis import strategies as st

from mta.bounce.dsn import Options, build
from mta.model import Kind, Message, Outcome, Peer, Recipient

texts = st.text(max_size=200)
codes = st.integers(0, 999)
kinds = st.sampled_from(["", "connect", "RCPT", ".", "expire", "admin"])
peers = st.none() | st.builds(Peer, texts, texts, texts)


@given(codes, texts, texts, kinds, peers, texts, st.none() | st.binary(max_size=300), st.booleans())
def test_three_parts_and_one_recipient(
    code: int,
    enhanced: str,
    text: str,
    command: str,
    peer: Peer | None,
    name: str,
    original: bytes | None,
    full: bool,
) -> None:
    message = Message(bytes(16), "a@example.com", peer_name=name, message_id=name)
    recipient = Recipient(message, 0, "b@example.net", code=code, enhanced=enhanced)
    recipient.text = text
    outcome = Outcome(Kind.BOUNCED, code, enhanced, text, command)
    options = Options("mail.example.com", content="full" if full else "headers")
    raw = build(message, [(recipient, outcome, peer)], original, options, "ab" * 16, 1)
    parsed = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert not parsed.defects and parsed["To"] == "a@example.com"
    parts = parsed.get_payload()
    assert isinstance(parts, list) and len(parts) == (2 if original is None else 3)
    of_message, of_recipient = parts[1].get_payload()
    assert of_message["Reporting-MTA"] == "dns; mail.example.com"
    assert of_recipient["Final-Recipient"] == "rfc822; b@example.net"
    assert of_recipient["Action"] == "failed"
    assert of_recipient["Status"][:2] in ("4.", "5.")
    assert all(value.isascii() for block in (of_message, of_recipient) for value in block.values())
