"""Envelopes out of headers: what `sendmail -t` and plain files in the pickup folder mean.

Pure functions over content with CRLF line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.utils import getaddresses
from typing import NamedTuple

FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")  # RFC 5322 2.2, and 4.5's blank before the colon
LINE_END = re.compile(rb"\r\n|\r|\n")
MBOX = re.compile(rb"From [^\r\n]*\r?\n")
PLAIN = (b"to", b"cc", b"bcc")
RESENT = (b"resent-to", b"resent-cc", b"resent-bcc")


class Field(NamedTuple):
    """One header field."""

    name: bytes  # lower case
    start: int
    end: int  # behind its last CRLF
    value: bytes  # folded as it is


def with_crlf(data: bytes) -> bytes:
    """The same with every line ended by CRLF, the last one too; a leading mbox line is left out."""
    if begin := MBOX.match(data):
        data = data[begin.end() :]
    data = LINE_END.sub(b"\r\n", data)
    return data if data.endswith(b"\r\n") or not data else data + b"\r\n"


def header(content: bytes) -> Iterator[Field]:
    """The fields of the header, in order; ends at the first line that is none."""
    at = 0
    while found := FIELD.match(content, at):
        end = _line_end(content, at)
        while content[end : end + 1] in (b" ", b"\t"):
            end = _line_end(content, end)
        yield Field(found[1].lower(), at, end, content[found.end() : end])
        at = end


def _line_end(content: bytes, at: int) -> int:
    end = content.find(b"\r\n", at)
    return len(content) if end < 0 else end + 2


def addresses(value: bytes, domain: str) -> list[str]:
    """The addresses in a field's value (RFC 5322 3.4), local names completed by `domain`."""
    text = LINE_END.sub(b"", value).decode("utf-8", "replace").strip()
    found = []
    for _, address in getaddresses([text]):
        local, at, host = address.rpartition("@")
        if at and local and host:
            found.append(address)
        elif address.strip("@"):
            found.append(f"{address.strip('@')}@{domain}")
    return found


class Extracted(NamedTuple):
    """What the header says of the envelope."""

    sender: str  # "" if it names none
    recipients: list[str]  # each once
    content: bytes  # without Bcc


def extract(content: bytes, domain: str) -> Extracted:
    """Recipients of To, Cc and Bcc, or of the Resent- fields where there are any; sender too."""
    fields = list(header(content))
    names = {field.name for field in fields}
    wanted = RESENT if names.intersection(RESENT) else PLAIN
    recipients = [a for f in fields if f.name in wanted for a in addresses(f.value, domain)]
    order = (b"resent-sender", b"resent-from") if wanted is RESENT else (b"sender", b"from")
    senders = [a for name in order for f in fields if f.name == name
               for a in addresses(f.value, domain)]  # fmt: skip
    content = without(content, fields, (wanted[-1],))
    return Extracted(senders[0] if senders else "", list(dict.fromkeys(recipients)), content)


def without(content: bytes, fields: Iterable[Field], names: Iterable[bytes]) -> bytes:
    """The content less the fields of these names."""
    gone = [field for field in fields if field.name in names]
    for field in reversed(gone):
        content = content[: field.start] + content[field.end :]
    return content
