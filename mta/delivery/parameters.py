"""Parameters of MAIL and RCPT that pass on what a message's client asked; pure.

Each is given with its leading blank, and only if the server offers its extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.model import Notify, ascii_domain
from mta.smtp import xtext
from mta.smtp.client import Capability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mta.model import Message, Recipient

# Plain numbers: this is asked for every message.
DSN, PRIORITY = int(Capability.DSN), int(Capability.PRIORITY)
SMTPUTF8 = int(Capability.SMTPUTF8)
WORDS = {int(n): n.name for n in (Notify.NEVER, Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)}


def of_mail(message: Message, capabilities: int) -> bytes:
    """RET and ENVID (RFC 3461 5.2.1), MT-PRIORITY (RFC 6710 4.1)."""
    said = ""
    if capabilities & DSN:
        said += f" RET={message.ret}" if message.ret else ""
        said += f" ENVID={message.envid}" if message.envid else ""
    if capabilities & PRIORITY and message.priority:
        said += f" MT-PRIORITY={message.priority}"
    return said.encode("ascii")


def of_rcpt(recipients: Sequence[Recipient], capabilities: int) -> list[bytes]:
    """NOTIFY and ORCPT (RFC 3461 5.2.1) by recipient, for a server that offers DSN."""
    utf8 = bool(capabilities & SMTPUTF8)
    return [_dsn(recipient, utf8) for recipient in recipients]


def _dsn(recipient: Recipient, utf8: bool) -> bytes:
    words = ",".join(word or "" for bit, word in WORDS.items() if recipient.notify & bit)
    said = f" NOTIFY={words}" if words else ""
    if recipient.orcpt:
        kind, _, address = recipient.orcpt.partition(";")
        if not utf8 and not address.isascii():  # RFC 6533 3: the form for servers without SMTPUTF8
            address = xtext.encode_utf8(xtext.decode_utf8(address))
        said += f" ORCPT={kind};{address}"
    return said.encode()


def ascii_address(address: str) -> str:
    """The address with its domain as A-labels where that makes it ASCII, else as it is."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{ascii_domain(domain)}" if local.isascii() else address
