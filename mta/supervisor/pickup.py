"""Takes mail from the pickup folder, through reception: a file goes when its message is stored.

The first worker looks once every `interval`; files of one look are committed together. A file
whose message cannot be stored now stays for the next look, one that never can goes to `bad/`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from mta.reception.client import Client
from mta.reception.policy import UNIX

if TYPE_CHECKING:
    from mta.reception.pickup import Drop, Folder, Found
    from mta.reception.reception import Reception

BATCH = 100  # files of one look
BATCH_OCTETS = 32 << 20


def client_of(name: str, hostname: str) -> Client:
    """What reception wants to know of who brings a file."""
    client = Client(UNIX, f"pickup {name}", relay=True)
    client.name, client.extended = "pickup", True
    client.trace = f"Received: by {hostname} (pickup)\r\n\tid ".encode("ascii", "replace")
    return client


class Pickup:
    """See the module."""

    def __init__(
        self,
        folder: Folder,
        interval: float,
        reception: Reception,
        max_size: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.folder, self._interval, self._loop = folder, interval, loop
        self.taken = self.bad = 0  # files since the start
        self._busy: set[str] = set()  # settled, and still there
        self._look: asyncio.Task[None] | None = None
        self._batch: asyncio.Task[bool] | None = None
        self._said = ""
        self.reload(reception, max_size)

    def reload(self, reception: Reception, max_size: int) -> None:
        """Use other settings from now on."""
        self.reception, self._max_size = reception, max_size

    def start(self) -> None:
        """Make the folder and begin to look into it."""
        self.folder.make()
        self._look = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Look no more; files whose message is being stored are settled first."""
        if self._look is not None:
            self._look.cancel()
        if self._batch is not None:
            await asyncio.wait([self._batch])

    async def _run(self) -> None:
        while True:
            self._batch = self._loop.create_task(self.once())
            try:
                more = await asyncio.shield(self._batch)
            except OSError as error:
                more = False
                self._say(f"pickup folder {self.folder.path}: {error.strerror}")
            if not more:
                await asyncio.sleep(self._interval)

    async def once(self) -> bool:
        """One look; True when there may be more files than it took."""
        hostname, largest = self.reception.options.hostname, max(BATCH_OCTETS, self._max_size)
        found = await asyncio.to_thread(self.folder.look, hostname, BATCH, largest, self._busy)
        if self.folder.trouble:
            self._say(f"pickup folder {self.folder.path}: {self.folder.trouble}")
        if not found:
            return False
        answers = await asyncio.gather(*(self._store(one) for one in found))
        done = {
            one.name: reason
            for one, reason in zip(found, answers, strict=True)
            if reason is not None
        }
        stuck = await asyncio.to_thread(self.folder.settle, done)
        self.bad += sum(bool(reason) for reason in done.values())
        self.taken += sum(not reason for reason in done.values())
        self._busy.update(stuck)
        if stuck:
            self._say(f"pickup folder {self.folder.path}: {stuck[0]} is done, cannot be removed")
        return bool(done)

    async def _store(self, one: Found) -> str | None:
        """ "" when a file's message is stored, None if it cannot be now, else why it never can."""
        drop = one.drop
        if drop is None:
            return one.problem
        if drop.size > self._max_size:
            return f"the message has {drop.size} octets, {self._max_size} are allowed"
        reception = self.reception
        client = client_of(one.name, reception.options.hostname)
        refusals = self._envelope(client, drop)
        if refusals and not client.recipients:
            return None if all(r[:1] == b"4" for r in refusals) else _text(refusals)
        if not reception.room.reserve(client, drop.size) or reception.data(client) is not None:
            reception.room.release(client)
            return None
        answer: asyncio.Future[bytes] = self._loop.create_future()
        reception.content(client, client, drop.body, drop.flags, answer.set_result)
        reply = await answer
        if not reply or reply[:1] == b"4":
            return None
        if reply[:1] != b"2":
            return _text([reply])
        return f"{_text([reply])}; to all but: {_text(refusals)}" if refusals else ""

    def _envelope(self, client: Client, drop: Drop) -> list[bytes]:
        """Give the envelope; the refusals."""
        refusal = self.reception.mail(client, drop.sender.address, params=drop.sender.params)
        if refusal is not None:
            return [refusal]
        answers = (self.reception.rcpt(client, to.address, to.params) for to in drop.recipients)
        return [answer for answer in answers if answer is not None]

    def _say(self, text: str) -> None:
        """Tell the operator, once."""
        if text != self._said:
            self._said = text
            print(text, file=sys.stderr, flush=True)


def _text(replies: list[bytes]) -> str:
    """Replies on one line."""
    return "; ".join(" ".join(reply.decode("utf-8", "replace").split()) for reply in replies)
