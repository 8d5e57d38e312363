"""aiosmtpd as a receiver."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from mta.testing.ports import free_port
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session

DOMAIN = "aiosmtpd.example"
SIZE_LIMIT = 100_000_000


class Arrived(NamedTuple):
    """One message."""

    sender: str
    recipients: list[str]
    content: bytes


class LongLines(SMTP):
    """aiosmtpd refuses lines above 1,001 octets with 500 unless it is told to take them."""

    line_length_limit = 1 << 20


class Aiosmtpd(Controller):
    """Records everything; refuses the local part `unknown`; a context manager."""

    def __init__(self) -> None:
        self.received: list[Arrived] = []
        self._arrived = threading.Condition()
        super().__init__(self, hostname="127.0.0.1", port=free_port(), ready_timeout=PATIENCE)

    def factory(self) -> SMTP:
        """A session, as the controller wants it."""
        return LongLines(
            self, data_size_limit=SIZE_LIMIT, hostname=f"mx.{DOMAIN}", ident="aiosmtpd"
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        """Aiosmtpd's hook."""
        if address.startswith("unknown@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Aiosmtpd's hook."""
        with self._arrived:
            self.received.append(
                Arrived(envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content)
            )
            self._arrived.notify_all()
        return "250 2.0.0 taken"

    def wait(self, count: int, timeout: float = PATIENCE) -> list[Arrived]:
        """Wait for so many messages."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.received) >= count, timeout):
                raise AssertionError(f"{len(self.received)} of {count} at aiosmtpd")
            return list(self.received)
