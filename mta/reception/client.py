"""Who brings a message, and the envelope that it is giving (compiled).

A session, a file of the pickup folder: each is a `Client`, whose fields reception fills in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mta.reception.parameters import Asked


class Transaction:
    """An envelope."""

    __slots__ = ("sender", "recipients", "asked")

    sender: str | None  # None outside a transaction
    recipients: list[str] | None
    asked: Asked | None  # by parameters of MAIL and RCPT; None for nothing

    def __init__(
        self,
        sender: str | None = None,
        recipients: list[str] | None = None,
        asked: Asked | None = None,
    ) -> None:
        self.sender, self.recipients, self.asked = sender, recipients, asked


class Client(Transaction):
    """Who gives it."""

    __slots__ = ("address", "relay", "id", "name", "extended", "trace", "reserved", "mark", "pace")

    address: str  # IP address, or "unix"; the client's, where a trusted proxy named it
    relay: bool  # may send to any domain
    id: str  # the session's, for log and envelope
    name: str  # from EHLO or HELO
    extended: bool  # said EHLO
    trace: bytes  # the Received header up to its id; b"" until the first message
    reserved: int  # octets of memory for content, kept by reception's room
    mark: int  # octets of it that had come at the last look, -1: not looked at yet
    pace: int  # octets a second that come of it, of late; -1: not known yet

    def __init__(self, address: str, id: str, *, relay: bool = False) -> None:
        super().__init__()
        self.address, self.id, self.relay = address, id, relay
        self.name, self.extended, self.trace, self.reserved = "", False, b"", 0
        self.mark = self.pace = -1

    def more_room(self) -> None:
        """Content that waited for room may come."""

    def held(self) -> int:
        """Octets in memory of the content that it is sending; -1 while it is not its turn."""
        return -1

    def origin(self) -> bytes:
        """The network that it shares room with."""
        return self.address.encode()

    def give_way(self) -> None:
        """Others need the room that it holds: its content ends here."""
