"""Clients that only take up room: `python -m tests.torture.strangers PORT PART KIND=COUNT ...`.

    idle    says EHLO, and nothing more
    slow    begins a message, and sends an octet of its content each second
    noop    begins a transaction with a large SIZE, and says NOOP each second

Each kind of each part (a process) comes from addresses of its own, so that none runs out of ports.
One line of output tells how many are open; they go on until standard input ends.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

PER_ADDRESS = 20_000  # connections from one address to one port
AT_ONCE = 200  # connections being opened
HELLO = b"EHLO stranger.example\r\n"
BEGIN = HELLO + b"MAIL FROM:<s@stranger.example>%b\r\nRCPT TO:<r1@accept.example>\r\n"
KINDS = ("idle", "slow", "noop")


async def main(port: int, part: int, wanted: dict[str, int]) -> None:
    """Open all of them, then keep them busy."""
    gate, tasks, there = asyncio.Semaphore(AT_ONCE), [], asyncio.Semaphore(0)
    for number, (kind, count) in enumerate(wanted.items()):
        for place in range(count):
            address = f"127.{part}.{10 + number}.{1 + place // PER_ADDRESS}"
            tasks.append(asyncio.create_task(one(port, address, kind, gate, there)))
    for _ in tasks:
        await there.acquire()
    print(len(tasks), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def one(
    port: int, address: str, kind: str, gate: asyncio.Semaphore, there: asyncio.Semaphore
) -> None:
    """One stranger, to the end of its connection; it does not come back. It tells that it came."""
    counted = False
    try:
        async with gate:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(address, 0)
            )
            await reader.readuntil(b"\n")
        there.release()
        counted = True
        drain = asyncio.create_task(reader.read(-1))
        for said in says(kind):
            writer.write(said)
            await asyncio.sleep(1.0)
            if drain.done():
                break
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        if not counted:
            there.release()


def says(kind: str) -> itertools.chain[bytes]:
    """What it sends, a piece each second."""
    if kind == "idle":
        return itertools.chain([HELLO], itertools.repeat(b""))
    if kind == "slow":
        return itertools.chain([BEGIN % b"", b"DATA\r\n"], itertools.repeat(b"x"))
    return itertools.chain([BEGIN % b" SIZE=40000000"], itertools.repeat(b"NOOP\r\n"))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), {
        kind: int(count) for kind, _, count in (word.partition("=") for word in sys.argv[3:])
    }))  # fmt: skip
