"""Messages that are easily damaged on their way, and the comparison that finds out."""

from __future__ import annotations

import base64
import random

HEAD = b"From: <s@source.example>\r\nTo: <r@b.example>\r\nSubject: %b\r\nX-Case: %b\r\n"


def _text(name: str, body: bytes, fields: bytes = b"") -> bytes:
    return HEAD % (name.encode(), name.encode()) + fields + b"\r\n" + body


def attachment(size: int = 25_000_000) -> bytes:
    """A MIME message with `size` octets attached."""
    octets = random.Random(size).randbytes(size)
    return _text(
        "attachment",
        b"--cut\r\nContent-Type: text/plain\r\n\r\nsee below\r\n"
        b"--cut\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(octets).replace(b"\n", b"\r\n")
        + b"--cut--\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=cut\r\n",
    )


# All octets but NUL, CR and LF, in lines of 998: what a text transport must not touch.
_OCTETS = bytes(octet for octet in range(1, 256) if octet not in b"\r\n") * 20

CONTENTS = {
    "dots": _text(
        "dots",
        b".\r\n..\r\n...\r\n.x\r\n..x\r\nx.\r\n.\r\n\r\n.\t\r\n. \r\n" + b"." * 998 + b"\r\n",
    ),
    "from-lines": _text("from-lines", b"From here\r\n>From there\r\n\r\nFrom s@x.example Mon\r\n"),
    "lines-998": _text("lines-998", b"".join(b"%c" % c * 998 + b"\r\n" for c in b"abc.")),
    "lines-4000": _text("lines-4000", b"".join(b"%c" % c * 4000 + b"\r\n" for c in b"abc.")),
    "eight-bit": _text(
        "eight-bit", "Grüße, 世界\r\n".encode() + bytes(range(128, 256)) + b"\r\n",
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
    ),
    "octets": _text(
        "octets", b"".join(_OCTETS[i : i + 998] + b"\r\n" for i in range(0, len(_OCTETS), 998))
    ),
    "blank-lines": _text("blank-lines", b"\r\n" * 50 + b"  \r\n\t\r\n" + b"\r\n" * 3),
    "no-body": HEAD % (b"no-body", b"no-body"),
    "no-final-newline": _text("no-final-newline", b"the last line has no end"),
    "folded-header": _text(
        "folded-header", b"body\r\n",
        b"X-Folded: one\r\n two\r\n\tthree\r\nX-Long: " + b"word " * 180 + b"\r\n",
    ),
}  # fmt: skip

ADDED = {"received", "return-path", "x-original-to", "delivered-to", "envelope-to"}


def crlf(stored: bytes) -> bytes:
    """What a maildir keeps with LF, as it was on the wire."""
    return stored.replace(b"\n", b"\r\n")


def on_the_wire(content: bytes) -> bytes:
    """What arrives: a client ends the last line before the final dot (RFC 5321 4.1.1.4)."""
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def below_trace(raw: bytes, sent: bytes) -> bytes:
    """`raw` without the header fields that were put above `sent`; checks that they are trace."""
    added, rest = raw[: len(raw) - len(sent)], raw[len(raw) - len(sent) :]
    for line in added.split(b"\r\n")[:-1]:
        if line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].decode("latin-1").lower()
            assert name in ADDED, f"{line!r} was put in front"
    return rest


def assert_same(raw: bytes, content: bytes) -> None:
    """`raw` is `content` below trace fields; names the first octet that differs."""
    sent = on_the_wire(content)
    assert len(raw) > len(sent), f"{len(raw)} octets arrived of {len(sent)}: {raw[-100:]!r}"
    rest = raw[len(raw) - len(sent) :]
    if rest != sent:
        at = next(i for i, (a, b) in enumerate(zip(rest, sent, strict=True)) if a != b)
        near = slice(max(0, at - 40), at + 40)
        raise AssertionError(f"octet {at}: {rest[near]!r} arrived for {sent[near]!r}")
    below_trace(raw, sent)
