"""What an outcome leads to: a notification of failure, delay or success, or a dead letter.

A DSN goes into the batch that closes its recipient (`QueueManager`); here it is only built. A
bounce of a bounce is written to the dead letters by a thread before its recipient is closed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mta._speedups.stuff import needs_stuffing
from mta.bounce import dsn
from mta.bounce.deadletters import DeadLetters
from mta.clock import Ages
from mta.errors import ControlError, SpoolUnknownError
from mta.model import Class, Flag, Message, Notify, id_shard, id_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.clock import Clock
    from mta.config.schema import Config
    from mta.model import IdGenerator, Outcome, Peer, Recipient
    from mta.spool.doubts import Found

PURGE_EVERY = 3600.0  # seconds between purges of old dead letters
DELAYED = int(Notify.DELAYED)  # ours, not the client's
AGAIN = 5.0  # seconds until a dead letter that could not be written is tried again
PATIENCE = 3600.0  # seconds for which the content of a dead letter is waited for
UNREAD = "; its content could not be read"


class Failures:
    """Builds the DSN that an outcome calls for, or keeps its dead letter; one per worker."""

    def __init__(
        self,
        config: Config,
        ids: dict[int, IdGenerator],
        clock: Clock,
        content_of: Callable[[Message], Found],
    ) -> None:
        self._ids, self._clock, self._content_of = ids, clock, content_of
        self._next_purge = 0.0
        self._ages = Ages(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Use other settings from now on."""
        self._config = config
        self._silent = {name for name, tenant in config.tenant.items() if tenant.dsn == "off"}
        self.dead = DeadLetters(
            Path(config.home) / "dead", config.queue.dead_letter_days, self._clock
        )
        self._options = dsn.Options(
            hostname=config.hostname,
            sender=config.dsn.sender,
            postmaster=config.dsn.postmaster,
            content=config.dsn.content,
            max_body=config.dsn.max_body,
        )

    def failed(
        self,
        message: Message,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer | None,
        action: str = "failed",
    ) -> Message | None:
        """The DSN to the sender of `message`; None where its tenant or the client wants none."""
        return self.failed_with(message, recipient, outcome, peer, self._body_of, action)

    def _body_of(self, message: Message) -> bytes | None:
        """What a notification returns of a message, nothing if it cannot be read: it goes out."""
        found = self._content_of(message)
        return found if isinstance(found, bytes) else None

    def failed_with(
        self,
        message: Message,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer | None,
        body_of: Callable[[Message], bytes | None],
        action: str = "failed",
    ) -> Message | None:
        """As `failed`, with the content from elsewhere: while a shard recovers."""
        unwanted = action == "failed" and recipient.notify & ~DELAYED
        if message.tenant in self._silent or unwanted and not unwanted & Notify.FAILURE:
            return None
        id = self._ids[id_shard(message.id)].next()
        body = dsn.build(
            message,
            [(recipient, outcome, peer)],
            body_of(message),
            self._options,
            id_text(id),
            self._clock.wall_us(),
            cast("dsn.Action", action),
        )
        flags = Flag.DOT_LINES if needs_stuffing(body) else 0
        if not body.isascii():
            flags |= Flag.EIGHT_BIT | Flag.BODY_8BITMIME
        if not message.sender.isascii():
            flags |= Flag.SMTPUTF8
        return Message(
            id,
            "",
            tenant=message.tenant,
            campaign=message.campaign,
            pool=message.pool,
            klass=Class.NORMAL,
            received_us=self._clock.wall_us(),
            size=len(body),
            flags=flags,
            peer_name=self._config.hostname,
            message_id=f"<{id_text(id)}@{self._config.hostname}>",
            session="dsn",
            body=body,
        )

    def bury(
        self, message: Message, recipient: Recipient, outcome: Outcome, done: Callable[[], None]
    ) -> None:
        """Write a bounce of a bounce to the dead letters, then `done`."""
        task = asyncio.get_running_loop().create_task(self._bury(message, recipient, outcome, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bury(
        self, message: Message, recipient: Recipient, outcome: Outcome, done: Callable[[], None]
    ) -> None:
        body = await self._content(message)
        if body is None:
            outcome = outcome._replace(text=outcome.text + UNREAD)
        while True:
            try:
                await asyncio.to_thread(self.dead.add, message, recipient, outcome, body or b"")
                break
            except OSError:
                await asyncio.sleep(AGAIN)
        done()

    async def _content(self, message: Message) -> bytes | None:
        """A content that nothing else will be left of: an error of the disk is waited out."""
        pause = waited = 0.0
        while not isinstance(found := self._content_of(message), bytes):
            if waited >= PATIENCE:
                return None
            pause = max(AGAIN, waited)
            await asyncio.sleep(pause)
            waited += pause
        return found

    async def requeue(
        self,
        id: str,
        home: int,
        submit: Callable[[Message, list[str], Callable[[BaseException | None], None]], None],
    ) -> dict[str, str]:
        """Queue a dead letter anew, under a new id of the shard `home`; then the letter goes."""
        letter = await asyncio.to_thread(self.dead.load, id)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        message = Message(
            self._ids[home].next(),
            "",
            tenant=letter.tenant,
            campaign=letter.campaign,
            received_us=self._clock.wall_us(),
            size=len(letter.content),
            flags=letter.flags,
            peer_name=self._config.hostname,
            session=f"dead letter {id}",
            body=letter.content,
        )

        def done(error: BaseException | None) -> None:
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(ControlError(_not_taken(error)))

        submit(message, [letter.recipient], done)
        await stored
        await asyncio.to_thread(self.dead.remove, id)
        return {"id": id_text(message.id)}

    def purge(self) -> None:
        """Remove dead letters that are too old, now and then."""
        now = self._clock.monotonic()
        if now >= self._next_purge:
            self._next_purge = now + PURGE_EVERY
            if not self._ages.believed():
                return
            task = asyncio.get_running_loop().create_task(self._purge())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _purge(self) -> None:
        await asyncio.to_thread(self.dead.purge)


def _not_taken(error: BaseException) -> str:
    if isinstance(error, SpoolUnknownError):
        return f"{error}; look for it with `mta queue list` before you try again"
    return f"the spool took nothing: {error}"
