"""What a search through all records is for, judged by as little of a record as that takes."""

from __future__ import annotations

from typing import Protocol

from mta.errors import RecordError
from mta.spool import keys, record


class Sieve(Protocol):
    """Lets through at least all that is meant: who searches looks again."""

    @property
    def id(self) -> bytes:
        """The only message that is meant, b"" if there may be others."""
        ...

    def message(self, sender: str, tenant: str, campaign: str) -> bool:
        """False when no recipient of such a message is meant."""
        ...

    def address(self, address: str) -> bool:
        """False when no recipient of this address is meant."""
        ...


class Sifter:
    """Told the rows of `messages` in the order of their keys, says which lead to recipients.

    What cannot be read passes: it is set aside where it is decoded.
    """

    __slots__ = ("_sieve", "_id", "_meant")

    def __init__(self, sieve: Sieve) -> None:
        self._sieve = sieve
        self._id, self._meant = b"", True  # of the last envelope

    def __call__(self, key: bytes, value: bytes) -> bool:
        """Whether this is the row of a recipient who may be meant."""
        sieve = self._sieve
        try:
            if len(key) == keys.ID_SIZE:
                self._id, self._meant = key, True  # if it cannot be read
                self._meant = sieve.message(*record.head(value))
                return False
            if record.is_alone(value):
                return sieve.message(*record.head(value)) and sieve.address(record.address(value))
            # A search may begin behind an envelope.
            return (self._meant or key[:16] != self._id) and sieve.address(record.address(value))
        except RecordError:
            return len(key) == keys.KEY_SIZE
