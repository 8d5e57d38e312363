"""Hostile servers over loopback: whatever the first connection meets, the mail arrives, once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from pathlib import Path

from tests.scenarios.server import Server
from tests.waiting import PATIENCE

QUICK = [
    flag
    for name in ("greeting", "ehlo", "mail", "rcpt", "data", "dot", "quit")
    for flag in ("-o", f"delivery.{name}_timeout=8s")
]
SOON = ["-o", 'retry.schedule=["1s"]', "-o", "retry.jitter=0", *QUICK]

# What the first connections to each domain meet: replies by place (greeting, EHLO, MAIL, RCPT, DATA
# and dot), and then silence, a reset or an end.
GOOD = ["220 hi", "250-mx\r\n250 PIPELINING", "250 a", "250 b", "354 go", "250 taken"]
ENDS = ("stall", "reset", "close")
MANNERS: dict[str, tuple[list[str], str]] = {
    f"{end}{step}": (GOOD[:step], end) for end in ENDS for step in range(6)
} | {
    "ssh": (["SSH-2.0-x"], "stall"),
    "endless": (["220 " + "x" * 100_000], "stall"),
    "lines": (["220-x\r\n" * 2000 + "220 x"], "stall"),
    "early": (["220 hi\r\n250 mx\r\n250 a\r\n250 b"], "stall"),
    "wrongdata": ([*GOOD[:4], "250 go"], "stall"),
    "wrongdot": ([*GOOD[:5], "354 more"], "stall"),
    "bye": ([*GOOD[:5], "421 bye"], "close"),
}


class Hostile:
    """A server whose manners are named by its port; every second connection goes well."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = dict.fromkeys(MANNERS, 0)
        self.met: dict[str, int] = dict.fromkeys(MANNERS, 0)
        self.ports: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Hostile:
        self._thread.start()
        assert self._up.wait(PATIENCE)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._up.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _listen(self) -> None:
        for name in MANNERS:
            server = await asyncio.start_server(self._serving(name), "127.0.0.1", 0)
            self.ports[name] = server.sockets[0].getsockname()[1]

    def _serving(self, name: str):  # type: ignore[no-untyped-def]
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._session(name, reader, writer)
            writer.close()

        return serve

    async def _session(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.met[name] += 1
        replies, end = (GOOD, "close") if self.met[name] > 1 else MANNERS[name]
        for place, reply in enumerate(replies):
            writer.write(reply.encode() + b"\r\n")
            await writer.drain()
            if place == 4:
                await reader.readuntil(b"\r\n.\r\n")
            elif place < 5:
                await reader.readuntil(b"\r\n")
        self.taken[name] += replies[5:] == GOOD[5:]
        if end == "stall":
            await reader.read()
        elif end == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def test_mail_arrives_once_whatever_the_first_connection_meets(tmp_path: Path) -> None:
    with Hostile() as hostile:
        routes = [
            part
            for name, port in hostile.ports.items()
            for part in ("--route", f"{name}.example=127.0.0.1:{port}")
        ]
        with Server(tmp_path, *routes, *SOON) as server:
            server.send(*(f"r@{name}.example" for name in MANNERS))
            delivered = server.wait_records(len(MANNERS), "Delivery")
            server.wait_empty()
            assert sorted(r["recipient"] for r in delivered) == sorted(
                f"r@{name}.example" for name in MANNERS
            )
            assert hostile.taken == dict.fromkeys(MANNERS, 1)
            failed = server.records("TransientFailure")
            assert {r["recipient"] for r in failed} == {f"r@{name}.example" for name in MANNERS}
            assert not server.records("Bounce", "Expiration")
