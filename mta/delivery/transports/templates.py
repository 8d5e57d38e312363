"""Fills parts of an address into paths and arguments, so that no address can reach outside.

`{local}`, `{domain}` and `{tenant}` stand in paths and arguments, `{recipient}`, `{sender}` and
`{id}` in arguments alone. A message without a tenant has the tenant "default".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mta.model import Kind, Outcome, id_text

if TYPE_CHECKING:
    from mta.model import Message, Recipient

NO_TENANT = "default"
MAX_PART = 200  # octets of one value in a path: file names have 255

_PLACE = re.compile(r"\{(\w+)\}")


class UnsafeError(ValueError):
    """A value that must not be filled in; the text says why."""

    def outcome(self, command: str) -> Outcome:
        """What becomes of its recipient (RFC 3463: bad destination mailbox address syntax)."""
        return Outcome(Kind.BOUNCED, 0, "5.1.3", str(self), command)


def values(message: Message, recipient: Recipient) -> dict[str, str]:
    """What may be filled in."""
    return {
        "local": recipient.address.rpartition("@")[0] or recipient.address,
        "domain": recipient.domain,
        "tenant": message.tenant or NO_TENANT,
        "recipient": recipient.address,
        "sender": message.sender,
        "id": id_text(message.id),
    }


def path(template: str, found: dict[str, str]) -> str:
    """A path; the local part in lower case. UnsafeError for what could name another folder."""

    def fill(match: re.Match[str]) -> str:
        value = found[match[1]]
        return _path_part(value.lower() if match[1] == "local" else value)

    return _PLACE.sub(fill, template)


def _path_part(value: str) -> str:
    if not value or value[0] == "." or "/" in value or not value.isprintable():
        raise UnsafeError(f"{value!r} cannot be part of a file name")
    if len(value.encode("utf-8", "replace")) > MAX_PART:
        raise UnsafeError(f"{value[:40]!r}... is too long for a file name")
    return value


def argument(template: str, found: dict[str, str]) -> str:
    """One argument of a command; UnsafeError for what the command could take for an option."""
    text = _PLACE.sub(lambda match: found[match[1]], template)
    if text.startswith("-") and not template.startswith("-"):
        raise UnsafeError(f"{text!r} begins with a hyphen, as options of commands do")
    if not text.isprintable():
        raise UnsafeError(f"{text!r} cannot be an argument")
    return text
