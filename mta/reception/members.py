"""The members of `admit`, in the order in which they are asked; here a feature joins.

Each listener of a worker, and the pickup folder, has a list of its own; a reload composes all anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.reception.admit import Admission, Member
from mta.reception.hooked import Before, MessageHook
from mta.reception.rules import Header, Parameters, Room, Storage, Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mta.clock import Clock
    from mta.reception.policy import Policy
    from mta.reception.reception import ReceptionOptions


def admission(
    options: ReceptionOptions,
    policy: Policy,
    clock: Clock,
    room: Room,
    *,
    store: Store | None = None,
    login: Iterable[Member] = (),
    handler: Iterable[Member] = (),
    before: Before | None = None,
) -> Admission:
    """The list of one listener; `login` and `handler` are its handler's, `before` the user's hook.

    What is cheap and needs nobody else comes first. Contents are read by the handler before the
    header is judged, as it may change them; the hook sees what will be stored.
    """
    members: list[Member] = [
        *login,
        policy,
        Parameters(options.parameters, clock),
        Storage(room, store),
        *handler,
        Header(options.max_hops, options.names, options.believe_control),
    ]
    if before is not None:
        members.append(MessageHook(before))
    return Admission(members)
