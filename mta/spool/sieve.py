"""What a search through all records is for, judged by as little of a record as that takes."""

from __future__ import annotations

from typing import Protocol

from mta.errors import RecordError
from mta.spool import keys, record

Head = tuple[str, str, str]  # sender, tenant and campaign of a message


class Sieve(Protocol):
    """Lets through at least all that is meant: who searches looks again."""

    @property
    def id(self) -> bytes:
        """The only message that is meant, b"" if there may be others."""
        ...

    @property
    def by_site(self) -> bool:
        """Whether `site` is to be asked, too."""
        ...

    def message(self, sender: str, tenant: str, campaign: str) -> bool:
        """False when no recipient of such a message is meant."""
        ...

    def address(self, address: str) -> bool:
        """False when no recipient of this address is meant."""
        ...

    def going(self, envelope: Head, address: str, route: str, site: str) -> bool:
        """False when none that goes there is meant: a recipient's address, route and last site."""
        ...


class Sifter:
    """Told the rows of `messages` in the order of their keys, says which lead to recipients.

    What cannot be read passes: it is set aside where it is decoded.
    """

    __slots__ = ("_sieve", "_id", "_meant", "_head")

    def __init__(self, sieve: Sieve) -> None:
        self._sieve = sieve
        self._id, self._meant = b"", True  # of the last envelope
        self._head: Head = "", "", ""

    def __call__(self, key: bytes, value: bytes) -> bool:
        """Whether this is the row of a recipient who may be meant."""
        sieve = self._sieve
        try:
            if len(key) == keys.ID_SIZE:
                self._id, self._meant = key, True  # if it cannot be read
                self._head = record.head(value)
                self._meant = sieve.message(*self._head)
                return False
            if record.is_alone(value):
                head = record.head(value)
                return sieve.message(*head) and self._addressed(head, value)
            if key[:16] != self._id:  # the search began behind its envelope
                return sieve.address(record.address(value))
            return self._meant and self._addressed(self._head, value)
        except RecordError:
            return len(key) == keys.KEY_SIZE

    def _addressed(self, head: Head, value: bytes) -> bool:
        sieve = self._sieve
        if not sieve.by_site:
            return sieve.address(record.address(value))
        address, route, site = record.destination(value)
        return sieve.address(address) and sieve.going(head, address, route, site)
