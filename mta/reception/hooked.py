"""Reception with a hook between a message's content and its place in the spool.

The session waits for its verdict as it does for a commit; other sessions go on. The message gets
its id afterwards, so that ids rise in the order of commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from mta._speedups.headers import scan
from mta.errors import HookError
from mta.hooks import Accept, Class, NewMessage, Refuse
from mta.hooks.headers import alter
from mta.model import Flag
from mta.reception.client import Client, Transaction
from mta.reception.control import Control
from mta.reception.reception import Reception
from mta.smtp.replies import reply

Before = Callable[[NewMessage], Awaitable[Accept | Refuse]]


class HookedReception(Reception):
    """Asks `before` for each message that nothing else refuses."""

    __slots__ = ("before", "_tasks")

    before: Before
    _tasks: set[asyncio.Task[None]]

    def ask(self, before: Before) -> None:
        """Whom to ask; to be called before the first message."""
        self.before, self._tasks = before, set()

    def ahead(self, session: Client, flags: int) -> int:
        """The hook sees the content as it came."""
        return 0

    def content(
        self,
        session: Client,
        transaction: Transaction,
        body: bytes,
        flags: int,
        done: Callable[[bytes], None],
        ahead: int = 0,
    ) -> None:
        """As `Reception.content`; `done` gets the reply later."""
        control = self._judge(scan(body, self._names))
        if isinstance(control, bytes):
            super().content(session, transaction, body, flags, done)
            return
        refusal = self.keep(session, len(body))
        if refusal is not None:
            done(refusal)
            return
        # The session's own envelope is gone when the hook answers.
        given = Transaction(transaction.sender, transaction.recipients, transaction.asked)
        settle = partial(self._settle, session, done)
        work = self._ask(session, given, body, flags, settle, control)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _settle(self, session: Client, done: Callable[[bytes], None], answer: bytes) -> None:
        self.room.release(session)  # before the client's next message may begin
        done(answer)

    async def _ask(
        self,
        session: Client,
        given: Transaction,
        body: bytes,
        flags: int,
        done: Callable[[bytes], None],
        control: Control,
    ) -> None:
        size = len(body)
        try:
            answer = await self.before(_described(session, given, body, control))
        except HookError as error:
            text = reply(451, "4.3.0", f"Hook {error.hook} failed, try again later")
            reason = f"hook {error.hook}"
            done(self._refuse(session, text, ".", given.sender, size=size, reason=reason))
            return
        if isinstance(answer, Refuse):
            text, reason = reply(answer.code, answer.enhanced, answer.text), "hook message_accepted"
            done(self._refuse(session, text, ".", given.sender, size=size, reason=reason))
            return
        if answer.set_headers or answer.remove_headers:
            body, flags = _altered(body, flags, answer)
        found = scan(body, self._names)
        self._hand_on(session, given, body, flags, done, 0, found, _controlled(control, answer))


def _described(session: Client, given: Transaction, body: bytes, control: Control) -> NewMessage:
    klass = Class.NORMAL if control.klass is None else Class(control.klass)
    return NewMessage(
        sender=given.sender or "",
        recipients=tuple(given.recipients or ()),
        tenant=control.tenant,
        campaign=control.campaign,
        pool=control.pool,
        klass=klass,
        content=body,
        peer_name=session.name,
        peer_address=session.address,
        session=session.id,
    )


def _altered(body: bytes, flags: int, answer: Accept) -> tuple[bytes, int]:
    if any(name.startswith(".") for name in answer.set_headers):
        flags |= Flag.DOT_LINES
    return alter(body, answer.set_headers, answer.remove_headers), flags


def _controlled(control: Control, answer: Accept) -> Control:
    """What the control headers say, and the hook over it."""
    return Control(
        control.tenant if answer.tenant is None else answer.tenant,
        control.campaign if answer.campaign is None else answer.campaign,
        control.pool if answer.pool is None else answer.pool,
        control.klass if answer.klass is None else answer.klass,
    )
