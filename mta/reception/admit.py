"""`admit`: who has a say in whether mail is taken, as an ordered list (compiled).

A feature that judges senders, recipients or contents is a `Member` of a listener's list;
`mta.reception.members` composes the lists. A step asks the members that have a say in it, in order,
until one refuses. Where one answers later, the client waits, and everybody else goes on.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from mta._speedups.verdict import ACCEPTED, Verdict
from mta.reception.client import Client
from mta.smtp.replies import FAILED

if TYPE_CHECKING:
    from mta.reception.arrival import Arrival
    from mta.reception.parameters import Params

STEPS = ("mail", "rcpt", "data", "message")

_ACCEPTED: Verdict = ACCEPTED  # a C global here


class Member:
    """Has a say in whether mail is taken, in the steps that it overrides.

    Each step gives ACCEPTED, another verdict, or an awaitable of one. A refusal is the reply and a
    Rejection; of positive verdicts the last that is not ACCEPTED is the reply. What an awaitable
    raises defers; an exception of the step itself ends the connection.
    """

    __slots__ = ()

    reads_content = False  # `message` wants the content without room for our header before it

    def mail(self, client: Client, params: Params | None) -> Said:
        """MAIL; `client.sender` is the reverse-path, and may be changed."""
        return _ACCEPTED

    def rcpt(self, client: Client, recipient: str, params: Params | None) -> Said:
        """RCPT; `client.recipients` are those before it."""
        return _ACCEPTED

    def data(self, client: Client) -> Said:
        """DATA: may the content come."""
        return _ACCEPTED

    def message(self, arrival: Arrival) -> Said:
        """The message is whole, not yet stored; envelope, content and control may be changed."""
        return _ACCEPTED


class Admission:
    """A listener's members by the steps that they have a say in; a reload makes another one."""

    __slots__ = ("members", "reads_content", "_mail", "_rcpt", "_data", "_message")

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self.members = list(members)
        self.reads_content = any(member.reads_content for member in self.members)
        self._mail, self._rcpt, self._data, self._message = (
            [member for member in self.members if _has_a_say(member, step)] for step in STEPS
        )

    def mail(self, client: Client, params: Params | None) -> Answer:
        """What the members say to MAIL."""
        for place, member in enumerate(self._mail):
            said = member.mail(client, params)
            if said is not _ACCEPTED:
                return go_on(said, _asks("mail", self._mail[place + 1 :], client, params))
        return _ACCEPTED

    def rcpt(self, client: Client, recipient: str, params: Params | None) -> Answer:
        """What the members say to RCPT."""
        for place, member in enumerate(self._rcpt):
            said = member.rcpt(client, recipient, params)
            if said is not _ACCEPTED:
                rest = self._rcpt[place + 1 :]
                return go_on(said, _asks("rcpt", rest, client, recipient, params))
        return _ACCEPTED

    def data(self, client: Client) -> Answer:
        """What the members say to DATA."""
        for place, member in enumerate(self._data):
            said = member.data(client)
            if said is not _ACCEPTED:
                return go_on(said, _asks("data", self._data[place + 1 :], client))
        return _ACCEPTED

    def message(self, arrival: Arrival) -> Answer:
        """What the members say to the message."""
        for place, member in enumerate(self._message):
            said = member.message(arrival)
            if said is not _ACCEPTED:
                return go_on(said, _asks("message", self._message[place + 1 :], arrival))
        return _ACCEPTED


def _has_a_say(member: Member, step: str) -> bool:
    return getattr(type(member), step) is not getattr(Member, step)


def _asks(step: str, members: list[Member], *args: object) -> list[Callable[[], Said]]:
    return [partial(getattr(member, step), *args) for member in members]


def go_on(said: Said, rest: list[Callable[[], Said]], so_far: Verdict = ACCEPTED) -> Answer:
    """The answer of a step after a member has said this; `rest` asks those behind it."""
    while isinstance(said, Verdict):
        if said.refuses:
            return said
        if said is not _ACCEPTED:
            so_far = said
        if not rest:
            return so_far
        said = rest.pop(0)()
    return Pending(said, rest, so_far)


class Pending:
    """A step's answer that comes later: await it for the verdict, or close it."""

    __slots__ = ("_said", "_rest", "_so_far", "_ends")

    def __init__(
        self,
        said: Awaitable[Verdict],
        rest: list[Callable[[], Said]] | None = None,
        so_far: Verdict = ACCEPTED,
    ) -> None:
        self._said, self._rest, self._so_far = said, rest or [], so_far
        self._ends: list[Callable[[Verdict], object]] = []

    def then(self, end: Callable[[Verdict], object]) -> None:
        """Have this called with the verdict, before whoever awaits gets it."""
        self._ends.append(end)

    def close(self) -> None:
        """Nobody wants the answer any more."""
        close = getattr(self._said, "close", None) or getattr(self._said, "cancel", None)
        if close is not None:
            close()

    def ended(self, task: object) -> None:
        """The task that awaits it has ended, perhaps before it began to."""
        self.close()

    def __await__(self) -> Generator[Any, None, Verdict]:
        return self._verdict().__await__()

    async def _verdict(self) -> Verdict:
        verdict = await self._step()
        for end in self._ends:
            end(verdict)
        return verdict

    async def _step(self) -> Verdict:
        """The verdict of all members; what fails defers."""
        try:
            while True:
                answer = go_on(await self._said, self._rest, self._so_far)
                if isinstance(answer, Verdict):
                    return answer
                self._said, self._so_far = answer._said, answer._so_far
        except Exception:  # noqa: BLE001  whatever a member may raise
            print(f"admit: {traceback.format_exc()}", file=sys.stderr, flush=True)
            return FAILED


async def final(answer: Answer) -> Verdict:
    """The verdict of an answer, once it is there."""
    return answer if isinstance(answer, Verdict) else await answer


Said: TypeAlias = Verdict | Awaitable[Verdict]  # by a member
Answer: TypeAlias = Verdict | Pending  # of all members
