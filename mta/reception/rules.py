"""The members of `admit` that every listener has, beside its relay rule (compiled)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mta._speedups.verdict import ACCEPTED, Reason, Verdict
from mta.reception.admit import Member, Said
from mta.reception.control import ControlNames, read
from mta.reception.parameters import (
    CHANGED,
    PRIORITY,
    Asked,
    ParameterOptions,
    Params,
    of_mail,
    of_rcpt,
)
from mta.smtp.replies import NO_STORAGE

if TYPE_CHECKING:
    from mta.clock import Clock
    from mta.reception.arrival import Arrival
    from mta.reception.client import Client

_ACCEPTED: Verdict = ACCEPTED  # a C global here


class Room(Protocol):
    """Room for content (`mta.reception.budget.Budget`)."""

    def has(self, holder: Client, /) -> bool: ...
    def reserve(self, holder: Client, octets: int, /) -> bool: ...
    def release(self, holder: Client, /) -> None: ...
    def grow(self, holder: Client, size: int, /) -> bool: ...
    def forget(self, holder: Client, /) -> None: ...


class Store(Protocol):
    """Where messages go (`mta.spool.shard.Shard`)."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be stored now, or None."""
        ...


class Parameters(Member):
    """Judges the parameters of MAIL and RCPT, and notes what they ask."""

    __slots__ = ("_options", "_clock")

    def __init__(self, options: ParameterOptions, clock: Clock) -> None:
        self._options, self._clock = options, clock

    def mail(self, client: Client, params: Params | None) -> Said:
        """DSN, FUTURERELEASE, MT-PRIORITY, AUTH=."""
        if params is None:
            return _ACCEPTED
        asked = of_mail(params, self._options, self._clock.wall_us(), client.relay)
        if isinstance(asked, Verdict):
            return asked
        client.asked = asked
        return CHANGED if PRIORITY in params and not client.relay else _ACCEPTED

    def rcpt(self, client: Client, recipient: str, params: Params | None) -> Said:
        """DSN."""
        if params is None:
            return _ACCEPTED
        wish = of_rcpt(params)
        if isinstance(wish, Verdict):
            return wish
        if client.asked is None:
            client.asked = Asked()
        assert client.recipients is not None
        client.asked.wish(len(client.recipients), wish)
        return _ACCEPTED


class Storage(Member):
    """Defers what there is no room for, in memory or on disk."""

    __slots__ = ("_room", "_store")

    def __init__(self, room: Room, store: Store | None = None) -> None:
        self._room, self._store = room, store

    def data(self, client: Client) -> Said:
        """Is there room for content to begin."""
        store = self._store
        if store is not None and store.problem is not None:
            return NO_STORAGE
        return _ACCEPTED if client.reserved or self._room.has(client) else NO_STORAGE

    def message(self, arrival: Arrival) -> Said:
        """Content that came in one read has nothing reserved."""
        client = arrival.client
        return _ACCEPTED if client.reserved or self._room.has(client) else NO_STORAGE


class Header(Member):
    """Ends mail loops, and reads the control headers of those who may use them."""

    __slots__ = ("_max_hops", "_names", "_believes")

    def __init__(self, max_hops: int, names: ControlNames, believes: bool) -> None:
        self._max_hops, self._names, self._believes = max_hops, names, believes

    def message(self, arrival: Arrival) -> Said:
        """RFC 5321 6.3; control headers."""
        found = arrival.found
        if found.received_count > self._max_hops:
            text = f"Mail loop: the message has {found.received_count} Received headers"
            return Verdict(554, "5.4.6", text, Reason.LOOP)
        if found.found is None or not self._believes:
            return _ACCEPTED
        control = read(self._names, found.found)
        if isinstance(control, Verdict):
            return control
        arrival.control = control
        return _ACCEPTED
