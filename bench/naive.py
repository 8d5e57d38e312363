"""A relay as one writes it in an afternoon: `python -m bench.naive PORT SINK_PORT SPOOL`.

aiosmtpd takes a message, a thread writes it to a file and syncs file and folder before the 250;
tasks send the files over connections that they keep open, by aiosmtplib, and unlink them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

import aiosmtplib
from aiosmtpd.smtp import SMTP, Envelope, Session

DELIVERIES = 20
Queue = asyncio.Queue[tuple[Path, str, list[str]]]


def store(path: Path, content: bytes) -> None:
    """Write and sync a file and the folder that names it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Handler:
    """Stores what comes, then queues it."""

    def __init__(self, spool: Path, queue: Queue) -> None:
        self.spool, self.queue, self.numbers = spool, queue, itertools.count()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep the message; 250 when it is safe."""
        path = self.spool / str(next(self.numbers))
        assert isinstance(envelope.content, bytes)
        await asyncio.to_thread(store, path, envelope.content)
        self.queue.put_nowait((path, envelope.mail_from or "", envelope.rcpt_tos))
        return "250 2.0.0 queued"


async def deliver(queue: Queue, port: int) -> None:
    """One connection's deliveries, one after the other."""
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
    while True:
        path, sender, recipients = await queue.get()
        content = path.read_bytes()
        while True:
            try:
                if not client.is_connected:
                    await client.connect()
                await client.sendmail(sender, recipients, content)
                break
            except (OSError, aiosmtplib.SMTPException):
                client.close()
                await asyncio.sleep(1)
        path.unlink()


async def main(port: int, sink_port: int, spool: Path) -> None:
    """Relay until killed."""
    queue: Queue = asyncio.Queue()
    handler = Handler(spool, queue)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, hostname="python.example"), "127.0.0.1", port, backlog=4096
    )
    async with server, asyncio.TaskGroup() as group:
        for _ in range(DELIVERIES):
            group.create_task(deliver(queue, sink_port))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
