"""A message's header by one regular expression."""

from __future__ import annotations

import re
from typing import Any

FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)")


def scan(body: bytes, drop: frozenset[bytes]) -> dict[str, Any]:
    """The attributes of a HeaderScan; `kept` as octets."""
    at, fields, kept = 0, [], b""
    while found := FIELD.match(body, at):
        name = found[1].lower()
        value = re.sub(rb"\r?\n", b"", found[2]).strip(b" \t\r").decode("utf-8", "replace")
        fields.append((name, value))
        kept += b"" if name in drop else found[0]
        at = found.end()
    values = dict(reversed(fields))
    return {
        "header_end": at,
        "received_count": sum(name == b"received" for name, _ in fields),
        "has_date": b"date" in values,
        "has_message_id": b"message-id" in values,
        "message_id": values.get(b"message-id", ""),
        "found": {name.decode(): values[name] for name in values if name in drop} or None,
        "kept": kept + body[at:],
    }
