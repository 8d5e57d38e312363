from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest

from mta.bounce.dsn import Failure, Options, build, status
from mta.bounce.words import duration, fold, reason
from mta.model import Flag, Kind, Message, Outcome, Peer, Recipient

ID, RECEIVED, DAY = "ab" * 16, 1_767_225_600_000_000, 86_400_000_000
NOW = RECEIVED + 2 * DAY
PEER = Peer("mx.example.net", "192.0.2.7:25", "default")
ORIGINAL = (
    b"Received: from client.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from\r\n the north\r\n"
    b"From: alice@example.com\r\n\r\nHello\r\n--=_x\r\n.\r\n\r\n"
)


def failure(
    address: str = "bob@example.net",
    code: int = 550,
    enhanced: str = "5.1.1",
    text: str = "No such user here",
    command: str = "RCPT",
    peer: Peer | None = PEER,
) -> Failure:
    recipient = Recipient(message(), 0, address, attempts=1)
    return recipient, Outcome(Kind.BOUNCED, code, enhanced, text, command), peer


def message(**more: str) -> Message:
    id = bytes.fromhex("01" * 16)
    return Message(id, "alice@example.com", received_us=RECEIVED, **more)


def made(
    *failures: Failure,
    original: bytes | None = ORIGINAL,
    options: Options = Options("mail.example.com"),  # noqa: B008
    of: Message | None = None,
) -> tuple[EmailMessage, list[EmailMessage]]:
    """A notification and its parts, as Python's parser sees them, free of defects."""
    raw = build(of or message(), failures or [failure()], original, options, ID, NOW)
    assert b"\n" not in raw.replace(b"\r\n", b"") and b"\r" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    parsed = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert isinstance(parsed, EmailMessage)
    for part in parsed.walk():
        assert not part.defects, (part.get_content_type(), part.defects)
    return parsed, [part for part in parsed.iter_parts() if isinstance(part, EmailMessage)]


def blocks(part: EmailMessage) -> list[dict[str, str]]:
    """The fields of a delivery-status part: the message's, then each recipient's."""
    payload = part.get_payload()
    assert part.get_content_type() == "message/delivery-status" and isinstance(payload, list)
    return [dict(block.items()) for block in payload]


def text(part: EmailMessage) -> str:
    return " ".join(part.get_content().split())


def test_the_header_makes_it_a_report_that_nothing_answers() -> None:
    parsed, parts = made(of=message(message_id="<1@example.com>"))
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    assert dict(parsed.items()) | {"Content-Type": ""} == {
        "Date": "Sat, 03 Jan 2026 00:00:00 +0000",
        "From": "Mail Delivery System <mailer-daemon@mail.example.com>",
        "To": "alice@example.com",
        "Subject": "Could not be delivered: your message to bob@example.net",
        "Message-ID": f"<{ID}@mail.example.com>",
        "Auto-Submitted": "auto-replied",
        "In-Reply-To": "<1@example.com>",
        "References": "<1@example.com>",
        "MIME-Version": "1.0",
        "Content-Type": "",
        "Content-Transfer-Encoding": "8bit",
    }
    types = ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    assert [part.get_content_type() for part in parts] == types


def test_people_read_what_happened_to_whom_and_who_said_so() -> None:
    _, parts = made()
    assert text(parts[0]) == (
        'This is the mail server mail.example.com. Your message "Grüße from the north" of '
        "Thu, 01 Jan 2026 00:00:00 +0000 could not be delivered to this recipient: "
        "<bob@example.net> There is no mailbox of that name. mx.example.net (192.0.2.7:25) said, "
        "to the recipient's address: 550 5.1.1 No such user here Nothing more will be tried for "
        "this recipient. If you need help, send this notice to postmaster@mail.example.com."
    )


def test_programs_read_the_fields() -> None:
    _, parts = made(of=message(peer_name="client.example"))
    whole, recipient = blocks(parts[1])
    assert whole == {
        "Reporting-MTA": "dns; mail.example.com",
        "Received-From-MTA": "dns; client.example",
        "Arrival-Date": "Thu, 01 Jan 2026 00:00:00 +0000",
        "X-Mailrace-Queue-ID": "01" * 16,
    }
    assert parsedate_to_datetime(whole["Arrival-Date"]).timestamp() * 1_000_000 == RECEIVED
    assert recipient == {
        "Final-Recipient": "rfc822; bob@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 No such user here",
        "Last-Attempt-Date": "Sat, 03 Jan 2026 00:00:00 +0000",
    }


def test_an_expiration_tells_how_long_and_what_was_last_said() -> None:
    recipient, outcome, _ = failure(code=0, enhanced="4.4.7", text="expired", command="expire")
    recipient.attempts, recipient.code = 14, 451
    recipient.enhanced, recipient.text = "4.7.1", "Greylisted"
    _, parts = made((recipient, outcome, None))
    assert (
        "Delivery was tried 14 times in 2 days and has been given up. The last answer was: "
        "451 4.7.1 Greylisted" in text(parts[0])
    )
    assert blocks(parts[1])[1] == {
        "Final-Recipient": "rfc822; bob@example.net",
        "Action": "failed",
        "Status": "4.4.7",
        "Diagnostic-Code": "smtp; 451 4.7.1 Greylisted",
    }


def test_an_operators_bounce_says_so() -> None:
    _, parts = made(failure(code=550, enhanced="5.7.0", text="abuse", command="admin", peer=None))
    assert "operator of this mail server has ended the delivery. The reason given: abuse" in (
        text(parts[0])
    )
    assert blocks(parts[1])[1]["Diagnostic-Code"] == "X-Mailrace; 5.7.0 abuse"


def test_what_no_remote_said_is_not_put_in_its_mouth() -> None:
    found = failure(code=0, enhanced="5.4.4", text="no MX for example.net", command="", peer=None)
    _, parts = made(found)
    fields = blocks(parts[1])[1]
    assert fields["Diagnostic-Code"] == "X-Mailrace; 5.4.4 no MX for example.net"
    assert "Remote-MTA" not in fields
    assert "No mail server could be found" in text(parts[0]) and " said" not in text(parts[0])


def test_a_transport_is_no_host() -> None:
    peer = Peer("pipe:filter", "/usr/bin/filter", "")
    found = failure(code=0, enhanced="5.1.1", text="exit code 67", command="pipe", peer=peer)
    fields = blocks(made(found)[1][1])[1]
    assert fields["Remote-MTA"] == "x-mailrace; pipe:filter"
    assert fields["Diagnostic-Code"] == "X-Mailrace; 5.1.1 exit code 67"


def test_several_recipients_share_a_notification() -> None:
    second = failure("carol@example.org", 552, "", "mailbox full", "DATA")
    parsed, parts = made(failure(), second)
    assert parsed["Subject"] == "Could not be delivered: your message to 2 recipients"
    found = [(block["Final-Recipient"], block["Status"]) for block in blocks(parts[1])[1:]]
    assert found == [("rfc822; bob@example.net", "5.1.1"), ("rfc822; carol@example.org", "5.3.4")]
    assert "<carol@example.org>" in text(parts[0]) and "these recipients" in text(parts[0])


def test_the_header_goes_back_by_default_cut_at_a_line() -> None:
    _, parts = made()
    assert parts[2].get_payload(decode=True) == ORIGINAL[: ORIGINAL.index(b"\r\n\r\n") + 2]
    _, parts = made(options=Options("mail.example.com", max_body=60))
    assert parts[2].get_payload(decode=True) == b"Received: from client.example\r\n"


def test_the_whole_message_goes_back_octet_by_octet_if_it_is_small() -> None:
    full = Options("mail.example.com", content="full", max_body=len(ORIGINAL))
    raw = build(message(), [failure()], ORIGINAL, full, ID, NOW)
    assert raw.count(b"\r\n\r\n" + ORIGINAL + b"\r\n--=_") == 1
    _, parts = made(options=full)
    assert parts[2].get_content_type() == "message/rfc822"
    small = Options("mail.example.com", content="full", max_body=len(ORIGINAL) - 1)
    assert made(options=small)[1][2].get_content_type() == "text/rfc822-headers"


def test_8_bit_originals_are_labelled() -> None:
    original = "Subject: Grüße\r\n\r\nHi\r\n".encode()
    parsed, parts = made(original=original)
    assert parsed["Content-Transfer-Encoding"] == "8bit"
    assert parts[2]["Content-Transfer-Encoding"] == "8bit"
    assert parts[2].get_payload(decode=True) == original[:-6]
    assert '"Grüße"' in text(parts[0])
    parsed, parts = made(original=b"Subject: x\r\n\r\n\xff\r\n")
    assert parsed["Content-Transfer-Encoding"] == parts[0]["Content-Transfer-Encoding"] == "7bit"


@pytest.mark.parametrize(
    "original", [b"", b"no header at all\r\n", b"Subject: =?x?q?=ff?=\r\n\r\n", b"Subject: a"]
)
def test_odd_originals(original: bytes) -> None:
    raw = build(message(), [failure()], original, Options("mail.example.com"), ID, NOW)
    assert len(list(email.message_from_bytes(raw).walk())) >= 4


def test_without_the_body_there_is_no_third_part() -> None:
    _, parts = made(original=None)
    assert len(parts) == 2 and "Your message of Thu" in text(parts[0])


def test_what_a_remote_says_cannot_forge_fields_or_parts() -> None:
    evil = "no\r\nStatus: 2.0.0\r\n\r\n--=_" + ID + "\x00 ü \x1b[2J " + "x" * 3000
    _, parts = made(failure(text=evil))
    assert len(parts) == 3
    fields = blocks(parts[1])[1]
    assert fields["Status"] == "5.1.1"
    assert fields["Diagnostic-Code"].isascii() and len(fields["Diagnostic-Code"]) < 1000
    assert "\x1b" not in parts[0].get_content()
    parsed, _ = made(of=message(message_id="<a\r\nBcc: x@example.com>", peer_name="x\r\n\r\ny"))
    assert parsed["Bcc"] is None and parsed["In-Reply-To"] is None


def test_addresses_are_settings() -> None:
    options = Options("mail.example.com", "bounce@example.com", "help@example.com")
    parsed, parts = made(options=options)
    assert parsed["From"] == "Mail Delivery System <bounce@example.com>"
    assert "send this notice to help@example.com." in text(parts[0])


@pytest.mark.parametrize(
    ("code", "enhanced", "command", "expected"),
    [
        (550, "5.1.1", "RCPT", "5.1.1"),
        (550, "4.1.1", "RCPT", "5.0.0"),
        (550, "", "RCPT", "5.0.0"),
        (550, "2.0.0", "RCPT", "5.0.0"),
        (552, "", "DATA", "5.3.4"),
        (556, "", "RCPT", "5.1.10"),
        (599, "5.x", ".", "5.0.0"),
        (451, "", ".", "4.3.0"),
        (499, "", ".", "4.0.0"),
        (0, "5.4.4", "", "5.4.4"),
        (0, "", "expire", "4.4.7"),
        (0, "", "connect", "5.0.0"),
    ],
)
def test_status(code: int, enhanced: str, command: str, expected: str) -> None:
    assert status(Outcome(Kind.BOUNCED, code, enhanced, "", command)) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("5.2.2", "The mailbox is full."),
        ("4.2.2", "The mailbox is full."),
        ("5.1.9", "The receiving server did not accept the address."),
        ("5.0.0", "The receiving server refused the message."),
    ],
)
def test_reasons(of: str, expected: str) -> None:
    assert reason(of) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 seconds"), (1, "1 second"), (3600, "1 hour"), (172800, "2 days"), (150, "2 minutes")],
)
def test_durations(seconds: int, expected: str) -> None:
    assert duration(seconds * 1_000_000) == expected


def test_folding_keeps_words_whole() -> None:
    assert fold("aa bb cccccccccc dd", 8, "X: ", " ") == ["X: aa bb", " cccccccccc", " dd"]
    assert fold("aaaaaaaaaaaa bb", 8, "X: ", " ") == ["X: aaaaaaaaaaaa", " bb"]
    assert (fold("", 8), fold("a b", 8, "> ")) == ([], ["> a b"])


def about(wide: bool = False, **more: object) -> tuple[Message, Recipient]:
    of = message(ret="FULL", envid="QQ+2B31", flags=Flag.SMTPUTF8 if wide else 0, **more)  # type: ignore[arg-type]
    return of, Recipient(of, 0, "bob@example.net", expires_us=RECEIVED + 5 * DAY)


def report(of: Message, failure: Failure, action: str, original: bytes = ORIGINAL) -> bytes:
    raw = build(of, [failure], original, Options("mail.example.com"), ID, NOW, action)  # type: ignore[arg-type]
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    return raw


def parsed_report(raw: bytes) -> tuple[EmailMessage, list[EmailMessage]]:
    parsed = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert isinstance(parsed, EmailMessage)
    return parsed, list(parsed.iter_parts())


def test_a_delay_tells_how_long_it_will_be_tried_and_returns_the_header_only() -> None:
    of, recipient = about()
    outcome = Outcome(Kind.DEFERRED, 451, "4.7.1", "Greylisted", "RCPT")
    parsed, parts = parsed_report(report(of, (recipient, outcome, PEER), "delayed"))
    assert parsed["Subject"] == "Not yet delivered: your message to bob@example.net"
    assert "has not yet been delivered" in text(parts[0])
    assert "it will be tried until Tue, 06 Jan 2026 00:00:00 +0000" in text(parts[0])
    whole, fields = blocks(parts[1])
    assert whole["Original-Envelope-Id"] == "QQ+31"
    assert (fields["Action"], fields["Status"]) == ("delayed", "4.7.1")
    assert fields["Will-Retry-Until"] == "Tue, 06 Jan 2026 00:00:00 +0000"
    assert parts[2].get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize(
    ("action", "enhanced", "status", "words"),
    [
        ("delivered", "2.1.5", "2.1.5", "The message was delivered."),
        ("relayed", "", "2.0.0", "which sends no notice of its own"),
    ],
)
def test_success(action: str, enhanced: str, status: str, words: str) -> None:
    of, recipient = about()
    recipient.orcpt = "rfc822;Bob+2Bx@old.example"
    outcome = Outcome(Kind.DELIVERED, 250, enhanced, "queued", ".")
    _, parts = parsed_report(report(of, (recipient, outcome, PEER), action))
    assert words in text(parts[0]) and "queued" in text(parts[0])
    fields = blocks(parts[1])[1]
    assert (fields["Action"], fields["Status"]) == (action, status)
    assert fields["Original-Recipient"] == "rfc822; Bob+x@old.example"
    assert parts[2].get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize(
    ("ret", "content", "kind"),
    [
        ("FULL", "headers", "message/rfc822"),
        ("HDRS", "full", "text/rfc822-headers"),
        ("", "full", "message/rfc822"),
        ("", "headers", "text/rfc822-headers"),
    ],
)
def test_ret_goes_before_the_setting(ret: str, content: str, kind: str) -> None:
    options = Options("mail.example.com", content=content)  # type: ignore[arg-type]
    _, parts = made(of=message(ret=ret), options=options)
    assert parts[2].get_content_type() == kind


WIDE = "Subject: Gr\u00fc\u00dfe\r\n\r\nx\r\n".encode()


def test_utf8_mail_is_reported_in_utf8() -> None:
    of, recipient = about(wide=True)
    of.sender, recipient.address = "\u00e9@b\u00fccher.example", "j\u00f6rg@b.example"
    recipient.orcpt = "utf-8;j\\x{F6}rg@old.example"
    raw = report(of, (recipient, failure()[1], PEER), "failed", WIDE)
    assert "\r\nTo: \u00e9@b\u00fccher.example\r\n".encode() in raw
    assert b"\r\nContent-Type: message/global-delivery-status\r\n" in raw
    assert "\r\nOriginal-Recipient: utf-8; j\u00f6rg@old.example\r\n".encode() in raw
    assert "\r\nFinal-Recipient: utf-8; j\u00f6rg@b.example\r\n".encode() in raw
    assert b"\r\nContent-Type: message/global\r\n" in raw
    raw = report(of, (recipient, failure()[1], PEER), "delayed", WIDE)
    assert b"\r\nContent-Type: message/global-headers\r\n" in raw


def test_to_a_sender_of_other_mail_utf8_is_escaped() -> None:
    of, recipient = about()
    recipient.address, recipient.orcpt = "j\u00f6rg@b.example", "utf-8;j\u00f6rg@old.example"
    raw = report(of, (recipient, failure()[1], PEER), "failed", b"Subject: x\r\n\r\n")
    assert b"\r\nContent-Type: message/delivery-status\r\n" in raw
    assert b"\r\nOriginal-Recipient: utf-8; j\\x{F6}rg@old.example\r\n" in raw
    assert b"\r\nFinal-Recipient: utf-8; j\\x{F6}rg@b.example\r\n" in raw


def test_what_the_client_named_cannot_forge_fields() -> None:
    of, recipient = about(wide=True)
    of.envid, recipient.orcpt = "a+0D+0AAction:+20x", "rfc822;b+0D+0AStatus:+202.0.0"
    _, parts = parsed_report(report(of, (recipient, failure()[1], PEER), "failed"))
    whole, fields = blocks(parts[1])
    assert whole["Original-Envelope-Id"] == "a Action: x"
    assert fields["Original-Recipient"] == "rfc822; b Status: 2.0.0"
    assert fields["Status"] == "5.1.1"


def test_binary_content_does_not_go_back() -> None:
    of, recipient = about()
    of.flags = Flag.BINARYMIME
    raw = report(of, (recipient, failure()[1], PEER), "failed", b"Subject: x\r\n\r\n\0\n")
    assert b"\0" not in raw and b"text/rfc822-headers" in raw
