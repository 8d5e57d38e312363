"""A message on its way in: what members judge, and then what waits for its commit (compiled)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mta._speedups.headers import HeaderScan, Names, scan
from mta._speedups.verdict import UNKNOWN, Verdict, queued
from mta.errors import SpoolBusyError, SpoolUnknownError
from mta.reception.client import Client, Transaction
from mta.reception.control import NOTHING, Control
from mta.smtp.replies import LOCAL_ERROR, NO_STORAGE

if TYPE_CHECKING:
    from mta.model import Message


class Refusals(Protocol):
    """Who takes down what becomes of no message (`mta.reception.reception.Reception`)."""

    def refuse(self, arrival: Arrival, verdict: Verdict, /) -> Verdict: ...
    def unanswered(self, arrival: Arrival, error: BaseException, /) -> None: ...


class Arrival(Transaction):
    """The envelope and content of one message; `done` gets what becomes of it, once.

    The content is what `body` has behind `ahead`. Members may set everything but `client`; the body
    by `change`.
    """

    __slots__ = (
        "client", "body", "ahead", "flags", "found", "control", "names", "message", "digits",
        "done", "reception",
    )  # fmt: skip

    client: Client
    body: bytes
    ahead: int  # octets of room before the content
    flags: int  # mta.model.Flag
    found: HeaderScan  # what its header has
    control: Control  # what the control headers say, where they are believed
    names: Names  # of the headers that the scan looks for
    message: Message | None  # None until it is accepted
    digits: bytes  # of its id
    done: Callable[[Verdict], None]
    reception: Refusals

    @property
    def content(self) -> bytes:
        """The content as it stands."""
        return self.body[self.ahead :]

    @property
    def size(self) -> int:
        """Octets of the content; of the message to be stored, once there is one."""
        message = self.message
        return len(self.body) - self.ahead if message is None else message.size

    def change(self, body: bytes, flags: int) -> None:
        """Take another content."""
        self.body, self.flags, self.ahead = body, flags, 0
        self.found = scan(body, self.names, 0)

    def __call__(self, error: BaseException | None) -> None:
        """The commit has ended."""
        if error is None:
            self.done(queued(self.digits))
        elif isinstance(error, SpoolUnknownError):  # no reply may say that it is, or is not, stored
            self.reception.unanswered(self, error)
            self.done(UNKNOWN)
        else:
            busy = isinstance(error, SpoolBusyError)
            self.done(self.reception.refuse(self, NO_STORAGE if busy else LOCAL_ERROR))


def arrive(
    client: Client,
    transaction: Transaction,
    body: bytes,
    flags: int,
    done: Callable[[Verdict], None],
    ahead: int,
    names: Names,
    reception: Refusals,
) -> Arrival:
    """A message that is whole; `transaction` may be used for the next one."""
    arrival = Arrival.__new__(Arrival)
    arrival.sender, arrival.recipients = transaction.sender, transaction.recipients
    arrival.asked, arrival.client = transaction.asked, client
    arrival.body, arrival.flags, arrival.ahead = body, flags, ahead
    arrival.names, arrival.done, arrival.reception = names, done, reception
    arrival.found, arrival.control = scan(body, names, ahead), NOTHING
    arrival.message, arrival.digits = None, b""
    return arrival
