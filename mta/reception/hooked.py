"""The user's hook between a message's content and its place in the spool, as a member of `admit`.

The session waits for its verdict as it does for a commit; other sessions go on. The message gets
its id afterwards, so that ids rise in the order of commits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mta._speedups.verdict import ACCEPTED, Verdict
from mta.errors import HookError
from mta.hooks import Accept, Class, NewMessage, Refuse
from mta.hooks.headers import alter
from mta.model import Flag
from mta.reception.admit import Member
from mta.reception.arrival import Arrival
from mta.reception.control import Control

Before = Callable[[NewMessage], Awaitable[Accept | Refuse]]


class MessageHook(Member):
    """Asks `before` for each message that no member before it refuses."""

    reads_content = True

    def __init__(self, before: Before) -> None:
        self._before = before

    async def message(self, arrival: Arrival) -> Verdict:
        """What the hook says; one that fails defers."""
        try:
            answer = await self._before(_described(arrival))
        except HookError as error:
            text = f"Hook {error.hook} failed, try again later"
            return Verdict(451, "4.3.0", text, f"hook {error.hook}")
        if isinstance(answer, Refuse):
            return Verdict(answer.code, answer.enhanced, answer.text, "hook message_accepted")
        if answer.set_headers or answer.remove_headers:
            _alter(arrival, answer)
        arrival.control = _controlled(arrival.control, answer)
        return ACCEPTED


def _described(arrival: Arrival) -> NewMessage:
    client, control = arrival.client, arrival.control
    return NewMessage(
        sender=arrival.sender or "",
        recipients=tuple(arrival.recipients or ()),
        tenant=control.tenant,
        campaign=control.campaign,
        pool=control.pool,
        klass=Class.NORMAL if control.klass is None else Class(control.klass),
        content=arrival.content,
        peer_name=client.name,
        peer_address=client.address,
        session=client.id,
    )


def _alter(arrival: Arrival, answer: Accept) -> None:
    flags = arrival.flags
    if any(name.startswith(".") for name in answer.set_headers):
        flags |= Flag.DOT_LINES
    body = alter(arrival.content, answer.set_headers, answer.remove_headers)
    arrival.change(body, flags)


def _controlled(control: Control, answer: Accept) -> Control:
    """What the control headers say, and the hook over it."""
    return Control(
        control.tenant if answer.tenant is None else answer.tenant,
        control.campaign if answer.campaign is None else answer.campaign,
        control.pool if answer.pool is None else answer.pool,
        control.klass if answer.klass is None else answer.klass,
    )
