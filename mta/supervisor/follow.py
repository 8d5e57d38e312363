"""Following one message: what the log says of it already, then what happens to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mta.errors import ControlError
from mta.maillog import reader
from mta.maillog.records import TERMINAL
from mta.model import id_bytes, id_shard, id_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.queues.manager import QueueManager
    from mta.spool.shard import Shard

SETTLE_LIMIT = 5.0  # seconds for the records that wait for their frame
SKEW_US = 1_000_000  # microseconds that a record's time may lie before its id's


class Followers:
    """Those who want to see the records of a message; asked through `QueueManager.on_record`."""

    def __init__(self, manager: QueueManager, log_dir: Path) -> None:
        self._manager, self._log_dir = manager, log_dir
        self._watched: dict[bytes, list[asyncio.Queue[bytes]]] = {}

    def _record(self, id: bytes, line: bytes) -> None:
        for queue in self._watched.get(id, ()):
            queue.put_nowait(line)

    async def follow(self, text: str, part: Callable[[Any], None]) -> Any:
        """Give every record of the message to `part`; returns when each recipient has ended."""
        try:
            id = id_bytes(text)
        except ValueError as error:
            raise ControlError(str(error)) from None
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._watched.setdefault(id, []).append(queue)
        self._manager.on_record = self._record
        try:
            return await self._watch(id, queue, part)
        finally:
            self._watched[id].remove(queue)
            if not self._watched[id]:
                del self._watched[id]
            if not self._watched:
                self._manager.on_record = None

    async def _watch(
        self, id: bytes, queue: asyncio.Queue[bytes], part: Callable[[Any], None]
    ) -> Any:
        """What was logged before we looked, each record once, then what comes."""
        shard = self._manager.shards.get(id_shard(id))
        if shard is None:
            raise ControlError(f"shard {id_shard(id)}, which {id_text(id)} names, is refused")
        message = shard.message(id)
        await _settled(shard)
        seen: set[tuple[str, int, int]] = set()
        total, ended = 0, 0
        logged = await asyncio.to_thread(self._logged, id_text(id))
        while True:
            for record in logged:
                key = (record["type"], record.get("rno") or 0, record["time"])
                if key in seen:
                    continue
                seen.add(key)
                part(record)
                total += record.get("total", 0)
                ended += record["type"] in TERMINAL
            if not seen and message is None:
                raise ControlError(f"{id_text(id)} is neither queued nor in the log")
            if ended >= max(1, total if message is None else message.total):
                return {"recipients": ended}
            logged = [msgspec.json.decode(await queue.get())]

    def _logged(self, id: str) -> list[dict[str, Any]]:
        accepted_us = int(id[:12], 16) * 1000
        return list(
            reader.read_all(self._log_dir, accepted_us - SKEW_US, None, lambda r: r.get("id") == id)
        )


async def _settled(shard: Shard) -> None:
    """Wait until the records so far are in the log's files."""
    shard.flush_now()
    async with asyncio.timeout(SETTLE_LIMIT):
        while shard.stats().pending:  # noqa: ASYNC110 (a rare question has no event of its own)
            await asyncio.sleep(0.01)
