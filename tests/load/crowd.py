"""Many sessions of one process: half idle, half sending, all coming again after a 421."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter

HELLO = b"EHLO client.example\r\n"
CONTENT = b"Subject: load\r\n\r\nhello\r\n.\r\n"
PATIENCE = 60.0  # seconds for any reply


class Crowd:
    """So many clients of one server."""

    def __init__(self, port: int, clients: int, every: float) -> None:
        self.port, self.clients, self.every = port, clients, every
        self.ids: list[str] = []
        self.seen: Counter[str] = Counter()
        self.open = 0
        self.ending = False

    async def client(self, number: int, delay: float) -> None:
        """Sessions one after another until the end."""
        await asyncio.sleep(delay)
        while not self.ending:
            try:
                async with asyncio.timeout(PATIENCE):
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
                    said = await streams[0].readline()
            except OSError as error:
                self.seen[f"no connection: {type(error).__name__}"] += 1
                return
            if said[:3] != b"220":
                self.seen[f"greeting {said[:9]!r}"] += 1
                return
            self.open += 1
            try:
                await self.stay(number, *streams)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.seen[f"lost: {type(error).__name__}"] += not self.ending
            self.open -= 1
            streams[1].close()

    async def stay(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One session, up to its 421."""
        while not self.ending:
            pause = PATIENCE * 10 if number % 2 else random.uniform(0, 2 * self.every)
            try:
                async with asyncio.timeout(pause):
                    said = await reader.readline()
            except TimeoutError:
                said = await self.send(number, reader, writer)
                if said[:3] == b"250":
                    self.ids.append(said.decode().split()[-1])
                    continue
            kind = "421" if said[:3] == b"421" else f"unexpected {said[:20]!r}"
            self.seen[kind] += not self.ending
            return

    async def send(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """One message; the last reply."""
        recipient = b"RCPT TO:<r%d@load.example>\r\n" % number
        said = b""
        for line in (HELLO, b"MAIL FROM:<a@c.example>\r\n", recipient, b"DATA\r\n", CONTENT):
            writer.write(line)
            async with asyncio.timeout(PATIENCE):
                while (said := await reader.readline())[3:4] == b"-":
                    pass
            if said[:3] not in (b"250", b"354"):
                break
        return said

    async def run(self) -> None:
        """Open all; print how many are open as asked on stdin; end with an account."""
        loop = asyncio.get_running_loop()
        spread = self.clients / 500
        tasks = [
            loop.create_task(self.client(n, random.uniform(0, spread))) for n in range(self.clients)
        ]
        while (await asyncio.to_thread(sys.stdin.readline)).strip() == "open":
            print(self.open, flush=True)
        self.ending = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        print(json.dumps({"ids": self.ids, "seen": self.seen}), flush=True)


if __name__ == "__main__":
    asyncio.run(Crowd(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])).run())
