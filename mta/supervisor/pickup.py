"""Takes mail from the pickup folder, through reception: a file goes when its message is stored.

The first worker looks once every `interval`; files of one look are committed together. A file
whose message cannot be stored now stays for the next look, one that never can goes to `bad/`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from mta.reception.admit import final
from mta.reception.client import Client
from mta.reception.pickup import Drop, Settled, no_message
from mta.reception.policy import UNIX
from mta.smtp.replies import NO_STORAGE

if TYPE_CHECKING:
    from mta._speedups.verdict import Verdict
    from mta.reception.pickup import Folder, Found
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
    """Takes the files of a folder, look by look, from `start` to `stop`."""

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
            one.name: settled
            for one, settled in zip(found, answers, strict=True)
            if not settled.stays
        }
        stuck = await asyncio.to_thread(self.folder.settle, done)
        self.bad += sum(settled.bad for settled in done.values())
        self.taken += sum(not settled.bad for settled in done.values())
        self._busy.update(stuck)
        if stuck:
            self._say(f"pickup folder {self.folder.path}: {stuck[0]} is done, cannot be removed")
        return bool(done)

    async def _store(self, one: Found) -> Settled:
        """Give a file's message to reception."""
        drop = one.content
        if not isinstance(drop, Drop):
            return Settled(drop)
        if drop.size > self._max_size:
            text = f"the message has {drop.size} octets, {self._max_size} are allowed"
            return Settled(no_message(text))
        reception = self.reception
        client = client_of(one.name, reception.options.hostname)
        refusals = await self._envelope(client, drop)
        if refusals and not client.recipients:
            lasting = [refusal for refusal in refusals if not refusal.temporary]
            return Settled((lasting or refusals)[0], tuple(refusals))
        if not reception.room.reserve(client, drop.size):
            return Settled(NO_STORAGE)
        verdict = await final(reception.data(client))
        if verdict.refuses:
            reception.room.release(client)
            return Settled(verdict)
        stored: asyncio.Future[Verdict] = self._loop.create_future()
        reception.content(client, client, drop.body, drop.flags, stored.set_result)
        verdict = await stored
        return Settled(verdict, () if verdict.refuses else tuple(refusals))

    async def _envelope(self, client: Client, drop: Drop) -> list[Verdict]:
        """Give the envelope; the refusals."""
        reception, sender = self.reception, drop.sender
        verdict = await final(reception.mail(client, sender.address, sender.params))
        if verdict.refuses:
            return [verdict]
        verdicts = [await final(reception.rcpt(client, to.address, to.params))
                    for to in drop.recipients]  # fmt: skip
        return [verdict for verdict in verdicts if verdict.refuses]

    def _say(self, text: str) -> None:
        """Tell the operator, once."""
        if text != self._said:
            self._said = text
            print(text, file=sys.stderr, flush=True)
