"""What the server says by itself: replies built from the settings, faults of content, verdicts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.reference.content import Content

FAULTS = {
    "size": "552 5.3.4 The message is larger than {most} octets",
    "nul": "550 5.6.0 Line {line} of the message has a NUL octet",
    "line": "500 5.6.0 Line {line} of the message is longer than {longest} octets",
    "bare_cr": "550 5.5.2 Line {line} of the message has a bare <CR>; only <CR><LF> ends a line, "
    "closing",
    "bare_lf": "550 5.5.2 Line {line} of the message has a bare <LF>; only <CR><LF> ends a line, "
    "closing",
}


def usable(given: dict[str, Any]) -> bool:
    """Whether settings can be used."""
    limits = ("max_size", "max_recipients", "max_text_line", "max_errors", "max_messages")
    texts = [given["hostname"], given["banner"], *given["keywords"]]
    return (
        given["bare_newlines"] in ("reject", "fix", "keep")
        and given["max_command_line"] >= 512
        and all(given[name] >= 0 for name in limits)
        and (given["chunking"] or not given["binarymime"])
        and all(re.fullmatch("[ -~]+", text) for text in texts)
    )


def extended(given: dict[str, Any]) -> bytes:
    """The reply to EHLO."""
    size = f"SIZE {given['max_size']}" if given["max_size"] else "SIZE"
    lines = ["PIPELINING", size, "8BITMIME", "ENHANCEDSTATUSCODES"]
    for name in ("chunking", "binarymime", "smtputf8"):
        lines += [name.upper()] * given[name]
    lines = [x for x in [*lines, *given["keywords"]] if x.split(" ")[0] not in given["hidden"]]
    marks = ["-"] * len(lines) + [" "]
    said = zip(marks, [given["hostname"], *lines], strict=True)
    return "".join(f"250{mark}{line}\r\n" for mark, line in said).encode()


def refusal(found: Content, most: int, longest: int) -> bytes:
    """The reply to content with a fault."""
    text = FAULTS[found.fault].format(line=found.fault_line, most=most, longest=longest)
    return text.encode() + b"\r\n"


def is_verdict(reply: bytes, positive: bytes) -> bool:
    """Whether this answers what awaits a reply that begins with `positive`."""
    return reply[:1] in (positive, b"4", b"5") and len(reply) >= 6 and reply[-2:] == b"\r\n"
